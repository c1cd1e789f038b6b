//! Ctrl-C, and the signals with which a system ends a program.

use std::mem;
use std::ops::Deref;
use std::process;
use std::sync::{LazyLock, OnceLock};

use credpool::{CancelToken, Error, ErrorCode};
use parking_lot::Mutex;

use crate::failure::Exit;

/// What an interruption does.
enum Answer {
    /// It ends the program.
    End,
    /// It cancels the token: what is open is closed before the program ends.
    Cancel,
    /// It ends the program, after this.
    #[cfg(unix)]
    EndAfter(Box<dyn FnOnce() + Send>),
}

static ANSWER: Mutex<Answer> = Mutex::new(Answer::End);
static TOKEN: LazyLock<CancelToken> = LazyLock::new(CancelToken::new);

/// As long as it lives, interruptions are answered in another way than by the end of the program.
pub(crate) struct Heard(CancelToken);

/// Cancels the token from now on.
pub(crate) fn hear() -> Result<Heard, Error> {
    answer_by(Answer::Cancel)
}

/// Does something before the program ends.
#[cfg(unix)]
pub(crate) fn end_after(what: impl FnOnce() + Send + 'static) -> Result<Heard, Error> {
    answer_by(Answer::EndAfter(Box::new(what)))
}

fn answer_by(answer: Answer) -> Result<Heard, Error> {
    static INSTALLED: OnceLock<Result<(), String>> = OnceLock::new();
    let install = || ctrlc::set_handler(interrupted).map_err(|error| error.to_string());
    if let Err(why) = INSTALLED.get_or_init(install) {
        let message = format!("Ctrl-C cannot be heard: {why}");
        return Err(Error::new(ErrorCode::Config, message));
    }
    *ANSWER.lock() = answer;
    Ok(Heard(TOKEN.clone()))
}

fn interrupted() {
    let answer = mem::replace(&mut *ANSWER.lock(), Answer::End);
    match answer {
        // A second one does not wait.
        Answer::Cancel => return TOKEN.cancel(),
        #[cfg(unix)]
        Answer::EndAfter(what) => what(),
        Answer::End => {}
    }
    process::exit(Exit::Interrupted as i32)
}

impl Deref for Heard {
    type Target = CancelToken;

    fn deref(&self) -> &CancelToken {
        &self.0
    }
}

impl Drop for Heard {
    fn drop(&mut self) {
        *ANSWER.lock() = Answer::End;
    }
}
