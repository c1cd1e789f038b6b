use super::scope::{Restore, SCOPE};
use super::*;
use crate::cancel::CancelToken;
use std::sync::atomic::AtomicU32;
use ureq::Timeout;

struct Socket(AtomicU32);

impl ShutdownHandle for Socket {
    fn shutdown(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn line() -> (Arc<Line>, Arc<Socket>) {
    let line = Arc::new(Line::default());
    let socket = Arc::new(Socket(AtomicU32::new(0)));
    let handle = Arc::downgrade(&socket);
    line.add(handle).unwrap();
    (line, socket)
}

fn scope(token: &CancelToken) -> Arc<Scope> {
    Scope::new(token, None, None)
}

#[test]
fn a_cancel_closes_the_socket_once() {
    let (line, socket) = line();
    let token = CancelToken::new();
    let _binding = Binding::new(&line, scope(&token), Instant::NotHappening);
    assert!(line.check().is_ok());
    token.cancel();
    token.cancel();
    assert!(line.check().is_err() && !line.end_request());
    assert_eq!(socket.0.load(Ordering::Relaxed), 1);
    let late = Arc::new(Socket(AtomicU32::new(0)));
    let late = Arc::downgrade(&late);
    assert!(line.add(late).is_err());
}

#[test]
fn a_cancel_that_comes_late_closes_nothing() {
    let (line, socket) = line();
    let request = line.request();
    // The action was already taken out of its token when the request ended.
    assert!(line.end_request());
    line.cut(request);
    assert!(line.check().is_ok());
    assert_eq!(socket.0.load(Ordering::Relaxed), 0);
    line.cut(line.request());
    assert_eq!(socket.0.load(Ordering::Relaxed), 1);
}

#[test]
fn a_dropped_binding_is_forgotten() {
    let (line, socket) = line();
    let token = CancelToken::new();
    drop(Binding::new(&line, scope(&token), Instant::NotHappening));
    token.cancel();
    assert_eq!(socket.0.load(Ordering::Relaxed), 0);
}

#[test]
fn scopes_nest_and_survive_panics() {
    let current = || super::current().map(|scope| scope.pace.is_some());
    let token = CancelToken::new();
    let pace = Some(IdleLimits {
        first_chunk: Duration::ZERO,
        idle: Duration::ZERO,
    });
    within(Scope::new(&token, pace, None), || {
        within(Scope::new(&token, None, None), || {
            assert_eq!(current(), Some(false));
        });
        let caught = std::panic::catch_unwind(|| {
            within(Scope::new(&CancelToken::new(), None, None), || {
                panic!("on purpose")
            });
        });
        assert!(caught.is_err());
        assert_eq!(current(), Some(true));
    });
    assert_eq!(current(), None);
}

#[test]
fn the_pace_changes_with_the_phase() {
    let second = Duration::from_secs(1);
    let start = crate::Clock::monotonic(&crate::SystemClock);
    let at = |seconds: u32| Instant::Exact(start + second * seconds);
    let (line, _socket) = line();
    let pace = IdleLimits {
        first_chunk: 30 * second,
        idle: 5 * second,
    };
    let scope = Scope::new(&CancelToken::new(), Some(pace), None);
    let mut binding = Binding::new(&line, Arc::clone(&scope), at(0));
    let asked = NextTimeout {
        per_read: Some((30 * second).into()),
        ..NextTimeout::default()
    };

    let inside = Restore(SCOPE.replace(Some(scope)));
    let head = binding.paced(asked, &|| at(29));
    assert!(head.after.is_not_happening() && head.per_read.is_none());
    drop(inside);

    for (seconds, left) in [(10, 20), (29, 1), (30, 0), (31, 0)] {
        let first = binding.paced(asked, &|| at(seconds));
        assert_eq!(*first.after, second * left);
        assert_eq!(first.reason, Timeout::PerRead);
    }
    binding.flowing = true;
    let later = binding.paced(asked, &|| at(31));
    assert!(later.after.is_not_happening());
    assert_eq!(*later.for_read().after, 5 * second);

    binding.scope.allow(3 * second);
    for (seconds, left) in [(40, 3), (42, 1), (43, 0), (50, 0)] {
        let rest = binding.paced(asked, &|| at(seconds));
        assert_eq!(*rest.after, second * left);
    }

    binding.scope.allow(7 * second);
    for (seconds, left) in [(60, 7), (66, 1), (68, 0)] {
        let rest = binding.paced(asked, &|| at(seconds));
        assert_eq!(*rest.after, second * left);
    }
    // Said anew, it begins anew.
    binding.scope.allow(7 * second);
    assert_eq!(*binding.paced(asked, &|| at(70)).after, 7 * second);
}
