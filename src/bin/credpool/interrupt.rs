//! Ctrl-C, and the signals with which a system ends a program.

use std::ops::Deref;
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, OnceLock};

use credpool::{CancelToken, Error, ErrorCode};

use crate::failure::Exit;

/// As long as it lives, an interruption cancels its token and nothing else: what is open is closed before the program ends.
pub(crate) struct Heard(CancelToken);

static TOKEN: LazyLock<CancelToken> = LazyLock::new(CancelToken::new);
static IS_HEARD: AtomicBool = AtomicBool::new(false);

/// Hears interruptions from now on.
pub(crate) fn hear() -> Result<Heard, Error> {
    static INSTALLED: OnceLock<Result<(), String>> = OnceLock::new();
    let installed = INSTALLED.get_or_init(|| {
        let handler = || {
            if !IS_HEARD.load(Ordering::SeqCst) {
                process::exit(Exit::Interrupted as i32);
            }
            TOKEN.cancel();
        };
        ctrlc::set_handler(handler).map_err(|error| error.to_string())
    });
    if let Err(why) = installed {
        let message = format!("Ctrl-C cannot be heard: {why}");
        return Err(Error::new(ErrorCode::Config, message));
    }
    IS_HEARD.store(true, Ordering::SeqCst);
    Ok(Heard(TOKEN.clone()))
}

impl Deref for Heard {
    type Target = CancelToken;

    fn deref(&self) -> &CancelToken {
        &self.0
    }
}

impl Drop for Heard {
    fn drop(&mut self) {
        IS_HEARD.store(false, Ordering::SeqCst);
    }
}
