//! [`RawRequest`]: any request of a provider's API, as HTTP.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Uri};
use parking_lot::Mutex;

use super::form::{Form, Refusal};
use super::{ChainLink, Request};
use crate::error::{Error, ErrorCode};
use crate::json::text_of;
use crate::percent::encoded;

/// A request for any endpoint of a provider: method, path, query, headers and body as they are to go out.
///
/// The path is one below the credential's `base_url`; a host in the URL is left out of account, since the credential says where its API
/// is. Headers that show a credential, and those of the connection, are replaced by the executor's own.
///
/// ```
/// use credpool::RawRequest;
///
/// let request = http::Request::post("/v1/embeddings")
///     .header("content-type", "application/json")
///     .body(r#"{"model":"text-embedding-3-small","input":"hello"}"#)
///     .unwrap();
/// let request = RawRequest::from(request).with_model("text-embedding-3-small");
/// assert_eq!(request.model, "text-embedding-3-small");
/// ```
/// `Debug` prints neither the query nor the values of headers, which may be secret.
#[derive(Clone)]
#[non_exhaustive]
pub struct RawRequest {
    /// Method, URL and headers.
    pub head: Parts,
    /// The body.
    pub body: RequestBody,
    /// The model that it is about: cooldowns and limits are kept for each. Empty: about none. Where that is an alias, or the name of a chain
    /// of models, the vendor's name takes its place in the path, and in a body in memory: in the member `model` of JSON, or in the one
    /// part `model` of a form (`multipart/form-data`). All other bytes stay as they are.
    pub model: String,
    chain: Vec<ChainLink>,
}

/// The body of a [`RawRequest`]: bytes, or a reader for what does not fit into memory.
///
/// ```no_run
/// use credpool::RequestBody;
/// use std::fs::File;
///
/// // Opened anew for each attempt.
/// let upload = RequestBody::reopened(|| File::open("talk.mp3")).with_length(200 << 20);
/// // Can be read once: the call fails over only as long as nothing of it was read.
/// let piped = RequestBody::once(std::io::stdin());
/// # let _ = (upload, piped);
/// ```
#[derive(Clone)]
pub struct RequestBody {
    kind: Kind,
    length: Option<u64>,
}

type Reader = Box<dyn Read + Send>;

#[derive(Clone)]
enum Kind {
    Bytes(Bytes),
    /// Empty once something of it was read.
    Once(Arc<Mutex<Option<Reader>>>),
    Reopened(Arc<dyn Fn() -> io::Result<Reader> + Send + Sync>),
}

/// What is to be sent in one attempt.
pub(crate) enum Outgoing {
    Bytes(Bytes),
    Reader(Reader),
}

/// A reader that can be read once: it goes back where it came from if nothing of it was.
struct OnceReader {
    reader: Option<Reader>,
    place: Arc<Mutex<Option<Reader>>>,
    is_touched: bool,
}

impl RawRequest {
    /// Says which model it is about.
    pub fn with_model(mut self, model: impl Into<String>) -> Self {
        self.model = model.into();
        self
    }

    /// Says that it is about the model that it names itself, if it does: behind `/models/` in its path, in the member `model` of a JSON body, or
    /// in the part `model` of a form (`multipart/form-data`). A body from a reader is not looked at.
    ///
    /// ```
    /// use credpool::RawRequest;
    ///
    /// let form = "--x\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n--x--\r\n";
    /// let request = http::Request::post("/v1/audio/transcriptions")
    ///     .header("content-type", "multipart/form-data; boundary=x")
    ///     .body(form)
    ///     .unwrap();
    /// assert_eq!(RawRequest::from(request).with_named_model().model, "whisper-1");
    /// ```
    pub fn with_named_model(mut self) -> Self {
        if let Some(model) = self.named_model() {
            self.model = model;
        }
        self
    }

    fn named_model(&self) -> Option<String> {
        if let Some((_, rest)) = self.head.uri.path().split_once("/models/") {
            let name = rest.split(':').next().filter(|name| !name.is_empty());
            return name.map(str::to_owned);
        }
        let body = self.body.as_bytes()?;
        let name = match Form::of(&self.head.headers, body) {
            Some(form) => form.ok()?.text("model")?.to_owned(),
            None => text_of(body, "model")?,
        };
        Some(name).filter(|name| !name.is_empty())
    }

    /// Adds a link to its chain of models, as [`Request::or`](crate::Request::or). A link's payload takes the place of the body.
    ///
    /// ```
    /// use credpool::RawRequest;
    ///
    /// let request = http::Request::post("/v1/embeddings")
    ///     .body(r#"{"model":"text-embedding-3-large","input":"hello"}"#)
    ///     .unwrap();
    /// let request = RawRequest::from(request).with_model("text-embedding-3-large").or("text-embedding-3-small");
    /// # drop(request);
    /// ```
    pub fn or(mut self, link: impl Into<ChainLink>) -> Self {
        self.chain.push(link.into());
        self
    }

    /// What selection, limits and links look at.
    pub(crate) fn outline(&self) -> Request {
        let payload = self.body.as_bytes().cloned().unwrap_or_default();
        let request = Request::new(&*self.model, payload);
        self.chain.iter().cloned().fold(request, Request::or)
    }

    /// The request as it goes out where `asked` is what its outline has become.
    ///
    /// # Errors
    /// Code `unsupported` where the model cannot be put in its place: neither in its path nor in a body in memory, or in a form that servers
    /// may read in two ways.
    pub(crate) fn addressed(&self, asked: &Request) -> Result<Cow<'_, Self>, Error> {
        let has_other_body = match self.body.as_bytes() {
            Some(own) => own.as_ptr() != asked.payload.as_ptr(),
            None => !asked.payload.is_empty(),
        };
        if asked.model == self.model && !has_other_body {
            return Ok(Cow::Borrowed(self));
        }
        let unsupported = |why: &str| {
            let what = format!(
                "the request names model {:?} where {:?} cannot take its place: {why}",
                self.model, asked.model
            );
            Error::new(ErrorCode::Unsupported, what)
        };
        let uri = renamed_in(&self.head.uri, &self.model, &asked.model);
        let body = match self.body.as_bytes() {
            _ if has_other_body => Some(asked.payload.clone()),
            Some(own) => form_with(&self.head.headers, own, &asked.model)
                .map_err(|why| unsupported(&format!("{why}; name the vendor's model in it")))?,
            None => None,
        };
        let names_none = self.body.as_bytes().is_some_and(Bytes::is_empty);
        if uri.is_none() && body.is_none() && !names_none {
            return Err(unsupported(if self.body.as_bytes().is_some() {
                "it stands neither in the path, nor as the member model of a JSON body, nor as the part model of a form"
            } else {
                "it does not stand in the path, and the body comes from a reader; hold the body in memory, or name the vendor's model in it"
            }));
        }
        let mut changed = self.clone();
        changed.model.clone_from(&asked.model);
        if let Some(uri) = uri {
            changed.head.uri = uri;
        }
        if let Some(body) = body {
            changed.body = body.into();
        }
        Ok(Cow::Owned(changed))
    }
}

/// A form with this model in its part `model`; `None` where it has no such part, or is no form.
fn form_with(headers: &HeaderMap, body: &Bytes, model: &str) -> Result<Option<Bytes>, Refusal> {
    match Form::of(headers, body) {
        Some(form) => form?.with_text("model", model),
        None => Ok(None),
    }
}

/// A URL with another model in its path; `None` where the path does not name the former one.
fn renamed_in(uri: &Uri, model: &str, other: &str) -> Option<Uri> {
    let path = uri.path();
    let escaped = |name: &str| name.split('/').map(escaped).collect::<Vec<_>>().join("/");
    let spellings = [model.to_owned(), escaped(model)];
    let places = spellings.iter().filter(|name| !name.is_empty());
    let mut places = places.flat_map(|name| path.match_indices(&**name));
    let (start, name) = places.find(|(start, name)| {
        let (before, after) = (&path[..*start], &path[start + name.len()..]);
        before.ends_with('/') && (after.is_empty() || after.starts_with(['/', ':']))
    })?;
    let (before, after) = (&path[..start], &path[start + name.len()..]);
    let mut changed = [before, &escaped(other), after].concat();
    if let Some(query) = uri.query() {
        changed = [&changed, "?", query].concat();
    }
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(changed.try_into().ok()?);
    Uri::from_parts(parts).ok()
}

fn escaped(segment: &str) -> String {
    encoded(segment).collect()
}

impl<B: Into<RequestBody>> From<http::Request<B>> for RawRequest {
    fn from(request: http::Request<B>) -> Self {
        let (head, body) = request.into_parts();
        Self {
            head,
            body: body.into(),
            model: String::new(),
            chain: Vec::new(),
        }
    }
}

impl RequestBody {
    /// No body.
    ///
    /// ```
    /// assert!(credpool::RequestBody::empty().as_bytes().is_some_and(|body| body.is_empty()));
    /// ```
    pub fn empty() -> Self {
        Self::from(Bytes::new())
    }

    /// A reader that can be read once. The request goes over a new connection, and the call fails over to another credential only as
    /// long as nothing of the reader was read.
    pub fn once(reader: impl Read + Send + 'static) -> Self {
        Self {
            kind: Kind::Once(Arc::new(Mutex::new(Some(Box::new(reader))))),
            length: None,
        }
    }

    /// A reader that is opened anew for each attempt. Where that fails, the call ends with code `config`.
    pub fn reopened<R: Read + Send + 'static>(
        open: impl Fn() -> io::Result<R> + Send + Sync + 'static,
    ) -> Self {
        let open = move || -> io::Result<Reader> { Ok(Box::new(open()?)) };
        Self {
            kind: Kind::Reopened(Arc::new(open)),
            length: None,
        }
    }

    /// How many bytes a reader gives. Without it the request is sent in chunks, which some servers refuse.
    pub fn with_length(mut self, bytes: u64) -> Self {
        self.length = Some(bytes);
        self
    }

    /// The bytes, where it is no reader.
    pub fn as_bytes(&self) -> Option<&Bytes> {
        match &self.kind {
            Kind::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Whether it was sent, and cannot be sent again.
    pub fn is_spent(&self) -> bool {
        matches!(&self.kind, Kind::Once(place) if place.lock().is_none())
    }

    pub(crate) fn length(&self) -> Option<u64> {
        self.length
    }

    /// Whether it can be sent more than once.
    pub(crate) fn is_repeatable(&self) -> bool {
        !matches!(self.kind, Kind::Once(_))
    }

    /// All of it; `None` where it has more than `limit` bytes.
    pub(crate) fn read_whole(&self, limit: usize) -> io::Result<Option<Bytes>> {
        let mut bytes = Vec::new();
        match self.open()? {
            Outgoing::Bytes(bytes) => return Ok((bytes.len() <= limit).then_some(bytes)),
            Outgoing::Reader(reader) => {
                let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
                reader.take(most).read_to_end(&mut bytes)?;
            }
        }
        Ok((bytes.len() <= limit).then(|| bytes.into()))
    }

    pub(crate) fn open(&self) -> io::Result<Outgoing> {
        Ok(match &self.kind {
            Kind::Bytes(bytes) => Outgoing::Bytes(bytes.clone()),
            Kind::Reopened(open) => Outgoing::Reader(open()?),
            Kind::Once(place) => {
                let reader = place.lock().take();
                let spent = || io::Error::other("the body can be read once, and was");
                Outgoing::Reader(Box::new(OnceReader {
                    reader: Some(reader.ok_or_else(spent)?),
                    place: Arc::clone(place),
                    is_touched: false,
                }))
            }
        })
    }
}

impl Read for OnceReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.is_touched = true;
        self.reader
            .as_mut()
            .map_or(Ok(0), |reader| reader.read(buffer))
    }
}

impl Drop for OnceReader {
    fn drop(&mut self) {
        if !self.is_touched {
            *self.place.lock() = self.reader.take();
        }
    }
}

impl Default for RequestBody {
    fn default() -> Self {
        Self::empty()
    }
}

impl From<Bytes> for RequestBody {
    fn from(bytes: Bytes) -> Self {
        Self {
            length: u64::try_from(bytes.len()).ok(),
            kind: Kind::Bytes(bytes),
        }
    }
}

impl From<Vec<u8>> for RequestBody {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<String> for RequestBody {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

impl From<&'static str> for RequestBody {
    fn from(text: &'static str) -> Self {
        Bytes::from_static(text.as_bytes()).into()
    }
}

impl From<()> for RequestBody {
    fn from((): ()) -> Self {
        Self::empty()
    }
}

impl fmt::Debug for RawRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawRequest")
            .field("method", &self.head.method)
            .field("path", &self.head.uri.path())
            .field("headers", &self.head.headers.keys().collect::<Vec<_>>())
            .field("body", &self.body)
            .field("model", &self.model)
            .field("links", &self.chain.len())
            .finish()
    }
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.kind {
            Kind::Bytes(_) => "bytes",
            Kind::Once(_) => "once",
            Kind::Reopened(_) => "reopened",
        };
        f.debug_struct("RequestBody")
            .field("kind", &kind)
            .field("length", &self.length)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &RequestBody) -> io::Result<Vec<u8>> {
        match body.open()? {
            Outgoing::Bytes(bytes) => Ok(bytes.to_vec()),
            Outgoing::Reader(mut reader) => {
                let mut bytes = Vec::new();
                reader.read_to_end(&mut bytes)?;
                Ok(bytes)
            }
        }
    }

    #[test]
    fn another_model_takes_its_place_in_path_and_body() {
        let raw = |path: &str, body: RequestBody| {
            RawRequest::from(http::Request::post(path).body(body).unwrap()).with_model("fast")
        };
        let sent = |raw: &RawRequest| {
            let asked = raw.outline().renamed("team/gpt 5");
            let sent = raw.addressed(&asked)?.into_owned();
            let body = read(&sent.body).unwrap();
            Ok::<_, Error>((sent.head.uri.to_string(), String::from_utf8(body).unwrap()))
        };
        let json = r#"{"model":"fast","x":1.0}"#;
        for (path, body, expected, expected_body) in [
            (
                "/v1/chat",
                json,
                "/v1/chat",
                r#"{"model":"team/gpt 5","x":1.0}"#,
            ),
            ("/v1/models/fast", "", "/v1/models/team/gpt%205", ""),
            (
                "/models/fast:run?a=fast",
                "{}",
                "/models/team/gpt%205:run?a=fast",
                "{}",
            ),
            ("/fasten/fast/x", "", "/fasten/team/gpt%205/x", ""),
            ("/v1/files", "", "/v1/files", ""),
        ] {
            let sent = sent(&raw(path, body.into())).unwrap();
            assert_eq!(
                sent,
                (expected.to_owned(), expected_body.to_owned()),
                "{path}"
            );
        }
        for body in [
            RequestBody::from("--x\r\n"),
            RequestBody::once(io::Cursor::new(json)),
        ] {
            let error = sent(&raw("/v1/chat", body)).unwrap_err();
            assert_eq!(*error.code(), ErrorCode::Unsupported);
        }
        let raw = raw("/v1/chat", json.into());
        let own = raw.outline();
        assert!(matches!(raw.addressed(&own), Ok(Cow::Borrowed(_))));
    }

    #[test]
    fn a_request_names_its_model_in_its_path_or_body() {
        let form = "--x\r\nContent-Disposition: form-data; name=model\r\n\r\nm\r\n--x--";
        for (path, body, model) in [
            ("/v1/chat", r#"{"a":{"model":"x"},"model":"m\u0031"}"#, "m1"),
            ("/v1beta/models/m:run?alt=sse", r#"{"model":"x"}"#, "m"),
            ("/v1/models/team/m", "", "team/m"),
            ("/v1/models", "", "own"),
            ("/v1/models/", "", "own"),
            ("/v1/chat", r#"{"model":7}"#, "own"),
            ("/v1/chat", r#"{"model":""}"#, "own"),
            ("/v1/audio", form, "m"),
            ("/v1/audio", &form[..40], "own"),
        ] {
            let mut request = http::Request::post(path);
            if body.starts_with("--") {
                request = request.header("content-type", "multipart/form-data; boundary=x");
            }
            let raw = RawRequest::from(request.body(body.to_owned()).unwrap());
            let raw = raw.with_model("own").with_named_model();
            assert_eq!(raw.model, model, "{path} {body}");
        }
    }

    #[test]
    fn bytes_and_what_is_reopened_can_be_sent_again() {
        for body in [
            RequestBody::from("abc"),
            RequestBody::reopened(|| Ok(io::Cursor::new(b"abc"))),
        ] {
            for _ in 0..2 {
                assert_eq!(read(&body).unwrap(), b"abc");
                assert!(!body.is_spent());
            }
        }
    }

    #[test]
    fn what_can_be_read_once_is_there_until_something_of_it_was_read() {
        let body = RequestBody::once(io::Cursor::new(b"abc"));
        drop(body.open().unwrap());
        assert!(!body.is_spent());
        assert_eq!(read(&body).unwrap(), b"abc");
        assert!(body.is_spent());
        assert!(read(&body).is_err());
    }
}
