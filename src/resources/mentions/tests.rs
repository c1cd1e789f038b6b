//! What vendors' requests and answers mention, in the forms of their references.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn shown(mentions: &Mentions) -> Vec<String> {
    mentions.iter().map(ToString::to_string).collect()
}

fn in_url(url: &str) -> Vec<String> {
    let mut mentions = Mentions::default();
    mentions.add_url(url);
    shown(&mentions)
}

fn in_json(json: impl AsRef<[u8]>) -> Vec<String> {
    let mut mentions = Mentions::default();
    mentions.add_json(json.as_ref());
    shown(&mentions)
}

fn in_answer(path: &str, json: &Value) -> Vec<String> {
    let mut mentions = Mentions::default();
    mentions.add_answer(path, json.to_string().as_bytes());
    shown(&mentions)
}

const NONE: [&str; 0] = [];

#[test]
fn a_path_names_the_resources_of_its_collections() {
    for (url, named) in [
        ("/v1/responses/resp_1", &["responses/resp_1"][..]),
        ("/v1/responses/resp_1/cancel", &["responses/resp_1"]),
        ("/v1/files/file-1/content", &["files/file-1"]),
        (
            "/v1/containers/cntr_1/files/cfile_2/content",
            &["containers/cntr_1", "files/cfile_2"],
        ),
        ("/v1/vector_stores/vs_1/files", &["vector_stores/vs_1"]),
        ("/v1/fine_tuning/jobs/ftjob-1/events", &["jobs/ftjob-1"]),
        ("/v1/threads/thread_1/runs/run_2", &["threads/thread_1"]),
        (
            "/v1/videos/video_1/content?variant=video",
            &["videos/video_1"],
        ),
        (
            "/v1/messages/batches/msgbatch_1/results",
            &["batches/msgbatch_1"],
        ),
        ("/v1/skills/skill_1/versions", &["skills/skill_1"]),
        (
            "/openai/v1/batches/batch_1?api-version=1",
            &["batches/batch_1"],
        ),
        ("/v1beta/files/abc-123", &["files/abc-123"]),
        (
            "/download/v1beta/files/abc:download?alt=media",
            &["files/abc"],
        ),
        (
            "/v1beta/cachedContents/1?updateMask=ttl",
            &["cachedContents/1"],
        ),
        ("/v1beta/batches/b1:cancel", &["batches/b1"]),
        ("/v1beta/models/veo-3:predictLongRunning", &[]),
        ("/v1beta/models/veo-3/operations/op1", &["operations/op1"]),
        (
            "/v1/projects/p/locations/l/cachedContents/9",
            &["cachedContents/9"],
        ),
        (
            "/upload/v1beta/files?upload_id=UP1&upload_protocol=resumable",
            &["uploads/UP1"],
        ),
        ("/v1/agents/sessions/s_1/turns", &["sessions/s_1"]),
    ] {
        assert_eq!(in_url(url), *named, "{url}");
    }
    for url in [
        "/v1/responses",
        "/v1/responses/",
        "/v1/responses/input_tokens",
        "/v1/responses/compact",
        "/v1/videos/edits",
        "/v1/files?limit=2",
        "/v1/chat/completions",
        "/v1/models/gpt-5",
        "/v1/skills/pptx",
        "/v1/messages/count_tokens",
        "/v1beta/models/gemini-3:generateContent",
        "",
    ] {
        assert_eq!(in_url(url), NONE, "{url}");
    }
}

#[test]
fn a_request_names_what_it_uses() {
    for (request, named) in [
        (
            json!({"model": "m", "input": "hi", "previous_response_id": "resp_1"}),
            &["responses/resp_1"][..],
        ),
        (json!({"conversation": "conv_1"}), &["conversations/conv_1"]),
        (
            json!({"conversation": {"id": "conv_2"}}),
            &["conversations/conv_2"],
        ),
        (
            json!({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]}],
                "tools": [{"type": "file_search", "vector_store_ids": ["vs_1", "vs_2"]},
                    {"type": "code_interpreter", "container": "cntr_1"},
                    {"type": "code_interpreter", "container": {"type": "auto", "file_ids": ["file-2"]}}]}),
            &[
                "containers/cntr_1",
                "files/file-1",
                "files/file-2",
                "vector_stores/vs_1",
                "vector_stores/vs_2",
            ],
        ),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "file-3"}}]}]}),
            &["files/file-3"],
        ),
        (
            json!({"input_file_id": "file-1", "endpoint": "/v1/responses", "metadata": {"file_id": "mine"}}),
            &["files/file-1"],
        ),
        (
            json!({"training_file": "file-1", "validation_file": "file-2"}),
            &["files/file-1", "files/file-2"],
        ),
        (json!({"assistant_id": "asst_1"}), &["assistants/asst_1"]),
        (
            json!({"container": "container_1", "messages": [{"role": "user", "content": [
                {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
                {"type": "container_upload", "file_id": "file_2"}]}]}),
            &["containers/container_1", "files/file_1", "files/file_2"],
        ),
        (
            json!({"container": {"id": "container_1", "skills": [
                {"type": "anthropic", "skill_id": "pptx"}, {"type": "custom", "skill_id": "skill_1"}]}}),
            &["containers/container_1", "skills/skill_1"],
        ),
        (
            json!({"cachedContent": "cachedContents/c1", "contents": []}),
            &["cachedContents/c1"],
        ),
        (
            json!({"contents": [{"parts": [{"fileData": {"mimeType": "text/plain",
                "fileUri": "https://generativelanguage.googleapis.com/v1beta/files/abc"}}]}]}),
            &["files/abc"],
        ),
        (
            json!({"contents": [{"parts": [{"file_data": {"file_uri": "files/abc"}}]}]}),
            &["files/abc"],
        ),
        (
            json!({"batch": {"input_config": {"file_name": "files/in"}}}),
            &["files/in"],
        ),
        (
            json!({"model": "m", "previous_interaction_id": "v1_x"}),
            &["interactions/v1_x"],
        ),
    ] {
        let mut found = in_json(request.to_string());
        found.sort();
        assert_eq!(found, *named, "{request}");
    }
}

#[test]
fn what_a_program_or_a_model_has_written_names_nothing() {
    for request in [
        json!({"messages": [{"role": "user", "content": "see \"file_id\": \"file-1\" and files/abc"}]}),
        json!({"metadata": {"file_id": "file-1"}}),
        json!({"tools": [{"name": "f", "input_schema": {"properties": {"file_id": "file-1"}}}]}),
        json!({"messages": [{"role": "assistant", "content": [
            {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"file_id": "file-1"}}]}]}),
        json!({"contents": [{"parts": [{"functionCall": {"name": "f", "args": {"file_id": "file-1"}}}]}]}),
        json!({"contents": [{"parts": [{"fileData": {"fileUri": "gs://bucket/talk.mp3"}}]}]}),
        json!({"model": "models/gemini-3", "container": null, "conversation": "auto"}),
        json!({"file_id": "x".repeat(LONGEST_ID + 1)}),
    ] {
        assert_eq!(in_json(request.to_string()), NONE, "{request}");
    }
    for text in [
        "",
        "{",
        "\"file_id\"",
        "file_id=1",
        r#"{"file_id":"file-1""#,
    ] {
        assert_eq!(in_json(text), NONE, "{text}");
    }
}

fn assert_answer(path: &str, answer: &Value, named: &[&str]) {
    let mut found = in_answer(path, answer);
    found.sort();
    assert_eq!(found, *named, "{path}: {answer}");
}

#[test]
fn an_answer_names_what_was_made() {
    for (path, answer, named) in [
        (
            "/v1/responses",
            json!({"id": "resp_2", "object": "response", "previous_response_id": "resp_1", "store": true,
                "output": [{"type": "message", "id": "msg_1", "content": [{"type": "output_text", "annotations": [
                    {"type": "container_file_citation", "container_id": "cntr_1", "file_id": "cfile_1"}]}]}]}),
            &[
                "containers/cntr_1",
                "files/cfile_1",
                "responses/resp_1",
                "responses/resp_2",
            ][..],
        ),
        (
            "/v1/responses",
            json!({"id": "resp_2", "object": "response", "store": false}),
            &[],
        ),
        (
            "/v1/files",
            json!({"id": "file-1", "object": "file", "purpose": "batch"}),
            &["files/file-1"],
        ),
        (
            "/v1/files",
            json!({"id": "file_1", "type": "file", "filename": "a"}),
            &["files/file_1"],
        ),
        (
            "/v1/files",
            json!({"object": "list", "data": [{"id": "file-1", "object": "file"}, {"id": "file-2", "object": "file"}]}),
            &["files/file-1", "files/file-2"],
        ),
        (
            "/v1/batches/batch_1",
            json!({"id": "batch_1", "object": "batch", "input_file_id": "file-1", "output_file_id": "file-2"}),
            &["batches/batch_1", "files/file-1", "files/file-2"],
        ),
        (
            "/v1/messages/batches",
            json!({"id": "msgbatch_1", "type": "message_batch"}),
            &["batches/msgbatch_1"],
        ),
        (
            "/v1/messages",
            json!({"id": "msg_1", "type": "message", "container": {"id": "container_1", "expires_at": "…"}}),
            &["containers/container_1"],
        ),
        (
            "/v1/fine_tuning/jobs",
            json!({"id": "ftjob-1", "object": "fine_tuning.job"}),
            &["jobs/ftjob-1"],
        ),
        (
            "/v1/uploads/upload_1/complete",
            json!({"id": "upload_1", "object": "upload",
            "file": {"id": "file-1", "object": "file"}}),
            &["files/file-1", "uploads/upload_1"],
        ),
    ] {
        assert_answer(path, &answer, named);
    }
}

#[test]
fn an_answer_of_any_vendor_names_what_was_made() {
    for (path, answer, named) in [
        // A server that speaks the API may leave the kind out.
        (
            "/v1/containers",
            json!({"id": "c1"}),
            &["containers/c1"][..],
        ),
        (
            "/v1beta/interactions",
            json!({"id": "v1_x", "status": "completed"}),
            &["interactions/v1_x"],
        ),
        (
            "/upload/v1beta/files",
            json!({"file": {"name": "files/abc", "uri": "https://generativelanguage.googleapis.com/v1beta/files/abc"}}),
            &["files/abc"],
        ),
        (
            "/v1beta/cachedContents",
            json!({"name": "cachedContents/c1", "model": "models/gemini-3"}),
            &["cachedContents/c1"],
        ),
        (
            "/v1beta/batches/b1",
            json!({"name": "batches/b1", "done": true, "response": {"responsesFile": "files/out"}}),
            &["batches/b1", "files/out"],
        ),
        (
            "/v1beta/models/veo-3:predictLongRunning",
            json!({"name": "models/veo-3/operations/op1"}),
            &["operations/op1"],
        ),
        (
            "/v1/models",
            json!({"object": "list", "data": [{"id": "gpt-5", "object": "model"}]}),
            &[],
        ),
        (
            "/v1/chat/completions",
            json!({"id": "chatcmpl-1", "object": "chat.completion"}),
            &[],
        ),
        (
            "/v1/skills",
            json!({"data": [{"id": "pptx", "type": "skill"}]}),
            &[],
        ),
        (
            "/v1beta/interactions/v1_x",
            json!({"agent": "deep-research-preview"}),
            &[],
        ),
    ] {
        assert_answer(path, &answer, named);
    }
}

#[test]
fn events_of_a_stream_name_what_was_made() {
    let created = r#"{"type":"response.created","response":{"id":"resp_1","object":"response","store":true}}"#;
    assert_eq!(in_json(created), ["responses/resp_1"]);
    let delta = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn","container":{"id":"container_1"}}}"#;
    assert_eq!(in_json(delta), ["containers/container_1"]);
    let escaped = r#"{"name":"cachedContents\/c1"}"#;
    assert_eq!(in_json(escaped), ["cachedContents/c1"]);
    let begun = r#"{"event_type":"interaction.created","interaction":{"id":"v1_x"}}"#;
    assert_eq!(in_json(begun), ["interactions/v1_x"]);
}

#[test]
fn a_document_names_a_bounded_number() {
    let ids: Vec<String> = (0..2 * MOST)
        .map(|number| format!("file-{number}"))
        .collect();
    let named = in_json(json!({"file_ids": ids}).to_string());
    assert_eq!(named.len(), MOST);
    let large = format!(r#"{{"file_id":"file-1","text":"{}"}}"#, "x".repeat(LARGEST));
    assert_eq!(in_json(large), NONE);
}

fn id_in(collection: &str) -> &'static str {
    match collection {
        "skills" => "skill_1",
        _ => "agent_1",
    }
}

proptest! {
    /// The look at quotation marks overlooks nothing that the whole search would find, however the text is spaced.
    #[test]
    fn no_mention_is_overlooked(
        member in prop::sample::select(MEMBERS),
        kind in prop::sample::select(KINDS),
        path in prop::sample::select(PATH_MEMBERS),
        collection in prop::sample::select(COLLECTIONS),
        filler in "[a-z\"\\\\{}:, ]{0,12}",
        space in "[ \n]{0,2}",
    ) {
        let filler = Value::from(filler).to_string();
        let id = id_in(member.1);
        let one = format!(r#"{{"f":{filler},"a":[{{{space}"{}"{space}:{space}"{id}"}}]}}"#, member.0);
        prop_assert_eq!(in_json(&one), [format!("{}/{id}", member.1)]);
        let id = id_in(kind.2);
        let object = format!(r#"{{"f":{filler},"o":{{"id":"{id}",{space}"{}"{space}:{space}"{}"}}}}"#, kind.0, kind.1);
        prop_assert_eq!(in_json(&object), [format!("{}/{id}", kind.2)]);
        let id = id_in(collection);
        let named = format!(r#"{{"f":{filler},"{path}":{space}["{collection}/{id}"]}}"#);
        prop_assert_eq!(in_json(&named), [format!("{collection}/{id}")]);
    }

    #[test]
    fn nothing_panics(text in ".{0,200}", json in "[{}\\[\\]\":,a-z_/0-9]{0,60}") {
        in_url(&text);
        in_json(&text);
        in_json(&json);
        in_answer("/v1/files", &Value::from(text));
    }
}
