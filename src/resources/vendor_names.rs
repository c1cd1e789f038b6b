//! Where vendors' requests and answers name resources, as data.
//!
//! Read from the vendors' references and the resources of their own Python clients (openai 3.57, anthropic 2.14, google-genai 3.6):
//!
//! * OpenAI: <https://platform.openai.com/docs/api-reference>: each object has its kind in `object`, and its id in `id`.
//! * Anthropic: <https://platform.claude.com/docs/en/api/files-create>, `messages-batches`, `skills`, `beta/agents`: the kind is in
//!   `type`; a container's id is in the member `container` of a message
//!   (<https://platform.claude.com/docs/en/agents-and-tools/tool-use/code-execution-tool>).
//! * Gemini: <https://ai.google.dev/api/files>, `caching`, `batch-api`, `file-search/file-search-stores`: a resource's name is its path
//!   (`files/abc-123`); the Interactions API (<https://ai.google.dev/api/interactions-api>) has ids.

/// The names of collections as they stand in paths: the segment behind one is the id of a resource in it.
pub(super) const COLLECTIONS: &[&str] = &[
    // OpenAI.
    "assistants",
    "batches",
    "containers",
    "conversations",
    "evals",
    "files",
    "jobs",
    "responses",
    "skills",
    "threads",
    "uploads",
    "vector_stores",
    "videos",
    // Anthropic, beside `batches`, `files` and `skills`; OpenAI has agents, environments, sessions and vaults, too.
    "agents",
    "deployments",
    "environments",
    "memory_stores",
    "sessions",
    "vaults",
    // Gemini, beside `batches` and `files`.
    "cachedContents",
    "corpora",
    "fileSearchStores",
    "interactions",
    "operations",
    "tunedModels",
];

/// What stands behind a collection's name, or in a member, and is no id.
pub(super) const NO_IDS: &[&str] = &[
    "auto",
    "automations",
    "characters",
    "compact",
    "edits",
    "extensions",
    "input_tokens",
    "none",
    "templates",
];

/// Members whose value is an id, several of them, or an object with an `id`; and the collection that it is in.
pub(super) const MEMBERS: &[(&str, &str)] = &[
    // OpenAI: Responses and Conversations.
    ("previous_response_id", "responses"),
    ("conversation", "conversations"),
    ("conversation_id", "conversations"),
    // OpenAI and Anthropic: files in content, tools, batches, fine-tuning jobs, evals, containers and vector stores.
    ("file_id", "files"),
    ("file_ids", "files"),
    ("input_file_id", "files"),
    ("output_file_id", "files"),
    ("error_file_id", "files"),
    ("training_file", "files"),
    ("validation_file", "files"),
    ("result_files", "files"),
    ("container", "containers"),
    ("container_id", "containers"),
    ("vector_store_id", "vector_stores"),
    ("vector_store_ids", "vector_stores"),
    ("skill_id", "skills"),
    ("eval_id", "evals"),
    ("fine_tuning_job_id", "jobs"),
    ("video", "videos"),
    ("remixed_from_video_id", "videos"),
    ("assistant_id", "assistants"),
    ("thread_id", "threads"),
    // Anthropic: Managed Agents.
    ("agent", "agents"),
    ("agent_id", "agents"),
    ("environment_id", "environments"),
    ("vault_ids", "vaults"),
    ("memory_store_id", "memory_stores"),
    // Gemini: the Interactions API.
    ("previous_interaction_id", "interactions"),
    ("interaction", "interactions"),
];

/// Members whose value is the path of a resource, or a URL that ends in it: all of them Gemini's, in both spellings.
pub(super) const PATH_MEMBERS: &[&str] = &[
    "cachedContent",
    "cached_content",
    "fileName",
    "file_name",
    "fileSearchStoreNames",
    "file_search_store_names",
    "fileUri",
    "file_uri",
    "name",
    "responsesFile",
    "responses_file",
    "uri",
];

/// Objects with an `id` of their own: the member that tells the kind, the kind, and the collection.
pub(super) const KINDS: &[(&str, &str, &str)] = &[
    // OpenAI.
    ("object", "assistant", "assistants"),
    ("object", "batch", "batches"),
    ("object", "container", "containers"),
    ("object", "container.file", "files"),
    ("object", "conversation", "conversations"),
    ("object", "eval", "evals"),
    ("object", "file", "files"),
    ("object", "fine_tuning.job", "jobs"),
    ("object", "response", "responses"),
    ("object", "skill", "skills"),
    ("object", "thread", "threads"),
    ("object", "chatkit.thread", "threads"),
    ("object", "upload", "uploads"),
    ("object", "vault", "vaults"),
    ("object", "vector_store", "vector_stores"),
    ("object", "video", "videos"),
    // Anthropic.
    ("type", "agent", "agents"),
    ("type", "deployment", "deployments"),
    ("type", "environment", "environments"),
    ("type", "file", "files"),
    ("type", "memory_store", "memory_stores"),
    ("type", "message_batch", "batches"),
    ("type", "session", "sessions"),
    ("type", "skill", "skills"),
    ("type", "vault", "vaults"),
];

/// How ids of a collection begin that belong to an account: all accounts have the vendors' own skills (`pptx`) and agents
/// (`deep-research-preview`).
pub(super) const BEGINNINGS: &[(&str, &str)] = &[("agents", "agent_"), ("skills", "skill_")];

/// Members whose content is a program's or a model's, not the API's: ids in it stand for nothing.
pub(super) const NOT_SEARCHED: &[&str] = &[
    "args",
    "functionCall",
    "functionResponse",
    "function_call",
    "function_response",
    "input_schema",
    "json_schema",
    "metadata",
    "parameters",
    "schema",
];

/// The query parameter and the header in which Gemini names an upload that has begun, and the collection that stands for them
/// (<https://ai.google.dev/api/files#method:-media.upload>).
pub(super) const UPLOAD_PARAMETER: (&str, &str) = ("upload_id", "uploads");
pub(super) const UPLOAD_HEADER: &str = "x-goog-upload-url";
