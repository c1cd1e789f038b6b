//! The lists of models: the vendor's own, and behind it the names that the pool adds, which are aliases and chains.

use bytes::Bytes;
use credpool::{Error, Manager, Model, RequestBody, ResponseBody};
use http::{Method, Request, Response};
use serde_json::{Value, json};

/// Whether a request asks for the first page of a vendor's list.
pub(crate) fn is_list(request: &Request<RequestBody>) -> bool {
    let (path, query) = (request.uri().path(), request.uri().query());
    let is_next =
        query.is_some_and(|query| query.contains("after_id") || query.contains("pageToken"));
    request.method() == Method::GET && matches!(path, "/v1/models" | "/v1beta/models") && !is_next
}

/// The names that the pool knows for a provider.
pub(crate) fn own_names(manager: &Manager, provider: &str) -> Vec<String> {
    let models = manager.models().into_iter();
    let serves = |model: &Model| model.providers.iter().any(|one| &*one.provider == provider);
    models.filter(serves).map(|model| model.name).collect()
}

/// The vendor's answer with those of these names that it does not know.
pub(crate) fn with_own(
    answer: Response<ResponseBody>,
    provider: &str,
    names: &[String],
) -> Result<Response<Bytes>, Error> {
    let (head, body) = answer.into_parts();
    let body = body.into_bytes(MOST)?;
    let Ok(mut list) = serde_json::from_slice::<Value>(&body) else {
        return Ok(Response::from_parts(head, body));
    };
    let (member, id) = match provider {
        "gemini" => ("models", "name"),
        _ => ("data", "id"),
    };
    if let Some(entries) = list.get_mut(member).and_then(Value::as_array_mut) {
        for name in names {
            let entry = entry_of(provider, name);
            if !entries.iter().any(|known| known.get(id) == entry.get(id)) {
                entries.push(entry);
            }
        }
    }
    Ok(Response::from_parts(head, list.to_string().into()))
}

/// A model as the vendor's clients read it.
fn entry_of(provider: &str, name: &str) -> Value {
    match provider {
        "anthropic" => {
            json!({"type": "model", "id": name, "display_name": name, "created_at": "1970-01-01T00:00:00Z"})
        }
        "gemini" => json!({"name": format!("models/{name}"), "displayName": name}),
        _ => json!({"id": name, "object": "model", "created": 0, "owned_by": "credpool"}),
    }
}

/// As large a list as is read.
const MOST: usize = 4 << 20;
