//! Files: each key is an account, and what it has made is there for no other one.

use std::time::Duration;

use bytes::Bytes;
use credpool::{
    Attempt, Auth, Error, ErrorCode, Manager, Options, RawAnswer, RawRequest, Request, ResponseHead,
};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, StatusCode};

use super::upstream::{MODELS, PROVIDER, Truth, Upstream};
use super::world::Pool;
use crate::random::Random;

/// The file that a text names.
fn named_in(text: &str) -> Option<&str> {
    let start = text.find(START)?;
    let rest = &text[start + START.len()..];
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    Some(&text[start..start + START.len() + digits])
}

const START: &str = "file-";

/// When a request comes.
pub fn check_file(truth: &mut Truth, id: &str, call: u64, text: &str) {
    let Some(file) = named_in(text) else { return };
    if let Some(owner) = truth.files.get(file).filter(|owner| *owner != id) {
        let what = format!("call {call} asks {id} for {file}, which {owner} has made");
        truth.breach("an_id_is_asked_of_the_account_that_made_it", what);
    }
}

impl Upstream {
    /// Makes a file, gives it or deletes it.
    pub fn raw(
        &self,
        attempt: &Attempt,
        auth: &Auth,
        request: &RawRequest,
    ) -> Result<RawAnswer, Error> {
        let path = request.head.uri.path();
        check_file(&mut self.truth.lock(), &auth.id, 0, path);
        let asked = Request::new(&*request.model, "{}");
        self.answer(attempt, auth, &asked)?;
        let mut truth = self.truth.lock();
        let file = named_in(path).map(str::to_owned);
        let is_there = |file: &String| truth.files.get(file) == Some(&auth.id);
        let answer = match (&request.head.method, file) {
            (&Method::POST, None) => {
                truth.made += 1;
                let file = format!("{START}{}", truth.made);
                truth.files.insert(file.clone(), auth.id.clone());
                truth.note(format!("{} has made {file}", auth.id));
                format!("{{\"id\":\"{file}\",\"object\":\"file\"}}")
            }
            (method, Some(file)) if is_there(&file) => {
                if *method == Method::DELETE {
                    truth.files.remove(&file);
                }
                "{}".to_owned()
            }
            _ => return Err(Error::upstream(404, "no such file")),
        };
        let mut head = ResponseHead::new(StatusCode::OK);
        let json = HeaderValue::from_static("application/json");
        head.headers.insert(CONTENT_TYPE, json);
        Ok(RawAnswer::new(
            head,
            std::io::Cursor::new(Bytes::from(answer)),
        ))
    }
}

pub fn file_is_made(pool: &mut Pool, random: &mut Random) {
    let result = send(pool, random, &Method::POST, "/v1/files");
    let made = match result {
        Ok(by) => format!("{by} has served"),
        Err(error) => error.to_string(),
    };
    pool.note(format!("a file was to be made: {made}"));
}

pub fn file_is_asked_for(pool: &mut Pool, random: &mut Random) {
    ask_for(pool, random, &Method::GET);
}

pub fn file_is_deleted(pool: &mut Pool, random: &mut Random) {
    ask_for(pool, random, &Method::DELETE);
}

fn ask_for(pool: &Pool, random: &mut Random, method: &Method) {
    let files: Vec<_> = pool.truth().lock().files.clone().into_iter().collect();
    if let Some((file, owner)) = random.pick(&files) {
        pool.note(format!("{method} {file} of {owner}"));
        let part = match *method {
            Method::DELETE => "",
            _ => "/content",
        };
        let result = send(pool, random, method, &format!("/v1/files/{file}{part}"));
        check_result(&mut pool.truth().lock(), file, owner, result);
    }
}

/// Who serves it: the owner alone. Who could not is named.
fn check_result(truth: &mut Truth, file: &str, owner: &str, result: Result<String, Error>) {
    let refusals = [
        ErrorCode::AuthNotFound,
        ErrorCode::AuthUnavailable,
        ErrorCode::LimitReached,
    ];
    match result {
        Ok(by) if by != owner => {
            let what = format!("{by} has served {file} of {owner}");
            truth.breach("an_id_is_asked_of_the_account_that_made_it", what);
        }
        Err(error) if refusals.contains(error.code()) && error.auth_id() != Some(owner) => {
            let what = format!("{file} of {owner}: {error}");
            truth.breach("an_owner_that_cannot_serve_is_named", what);
        }
        Ok(_) | Err(_) => {}
    }
}

/// All files that are left, when nothing else is under way.
pub fn check_files(pool: &Pool, random: &mut Random) {
    let files = pool.truth().lock().files.clone();
    for (file, owner) in files.into_iter().take(8) {
        let result = send(pool, random, &Method::GET, &format!("/v1/files/{file}"));
        check_result(&mut pool.truth().lock(), &file, &owner, result);
    }
}

fn send(pool: &Pool, random: &mut Random, method: &Method, path: &str) -> Result<String, Error> {
    let model = *random.pick(&MODELS).unwrap();
    let request = http::Request::builder().method(method).uri(path);
    let request = RawRequest::from(request.body(()).unwrap()).with_model(model);
    let waits = [None, Some(Duration::ZERO), Some(Duration::from_secs(3))];
    let mut options = Options::new();
    options.max_wait = *random.pick(&waits).unwrap();
    pool.watch(move |manager: &Manager| {
        let answer = manager.execute_raw([PROVIDER], request, &options)?;
        let body = answer.into_body();
        let by = body.auth_id().to_owned();
        body.into_bytes(1 << 10)?;
        Ok(by)
    })
}
