use std::time::Duration;

use super::*;
use crate::request::Usage;

fn ended<'a>(outcome: &'a Outcome<'a>) -> Ended<'a> {
    Ended {
        outcome,
        limits: None,
        price: Price::Of(0.5),
        at: Timestamp::UNIX_EPOCH,
    }
}

fn served(tally: &Tally, model: &str) {
    let mut outcome = Outcome::success("a", "p", model);
    outcome.attempt = 1;
    outcome.usage = Some(Usage::new(3, 1));
    outcome.elapsed = Duration::from_millis(5);
    outcome.first_byte = Some(Duration::from_millis(5));
    let line = tally.begin(model);
    tally.end(line, &ended(&outcome));
}

fn failed(tally: &Tally, model: &str) {
    let mut outcome = Outcome::failure("a", "p", model, None);
    outcome.attempt = 2;
    let line = tally.begin(model);
    tally.end(line, &ended(&outcome));
}

fn total(tally: &Tally) -> Counts {
    let mut total = Counts::default();
    for line in tally.report() {
        total += line.counts;
    }
    total
}

#[test]
fn an_attempt_is_counted_once_and_is_in_flight_until_then() {
    let tally = Tally::default();
    served(&tally, "m");
    let line = tally.begin("m");
    let counts = total(&tally);
    assert_eq!((counts.requests, counts.in_flight), (1, 1));
    let outcome = Outcome::abandoned("a", "p", "m");
    tally.end(line, &ended(&outcome));
    failed(&tally, "m");
    let counts = total(&tally);
    assert_eq!((counts.requests, counts.in_flight, counts.calls), (3, 0, 1));
    assert_eq!(
        (counts.succeeded, counts.abandoned, counts.failures()),
        (1, 1, 1)
    );
    assert_eq!((counts.tokens, counts.cost), (Usage::new(3, 1), 1.5));
    // The abandoned one was told without its time.
    assert_eq!((counts.duration.count(), counts.first_byte.count()), (2, 1));
}

#[test]
fn invented_models_get_no_line_beyond_the_first_few() {
    let tally = Tally::default();
    for n in 0..10_000 {
        failed(&tally, &format!("invented-{n}"));
    }
    assert_eq!(tally.report().len(), FEW + 1);
    assert_eq!(total(&tally).requests, 10_000);
    assert_eq!(tally.report().pop().unwrap().counts.requests, 10_000 - 4);
}

#[test]
fn a_model_that_serves_gets_a_line_while_there_are_any() {
    let tally = Tally::default();
    for round in 0..3 {
        for n in 0..200 {
            served(&tally, &format!("model-{n}"));
        }
        let report = tally.report();
        assert_eq!(report.len(), FEW + MANY + 1, "round {round}");
        let names: Vec<_> = report.iter().map(|line| line.model.clone()).collect();
        assert!(names[..FEW + MANY].is_sorted() && names[FEW + MANY].is_none());
    }
    assert_eq!(total(&tally).requests, 600);
    for line in tally.report() {
        let counts = line.counts;
        match line.model.as_deref() {
            Some("model-0" | "model-1" | "model-2" | "model-3") => assert_eq!(counts.requests, 3),
            // The first success of the others came before their line.
            Some(_) => assert_eq!(counts.requests, 2),
            None => assert_eq!(counts.requests, 600 - 4 * 3 - 60 * 2),
        }
    }
}

#[test]
fn what_is_under_way_at_a_removal_ends_with_the_heir() {
    let (tally, heir) = (Tally::default(), Arc::<Line>::default());
    served(&tally, "m");
    let before = tally.begin("m");
    tally.bequeath(&heir);
    // A call had picked the credential before it was removed.
    let (known, new, other) = (tally.begin("m"), tally.begin("n"), tally.begin("n"));
    assert_eq!(heir.report(None).counts.in_flight, 1);
    let outcome = Outcome::success("a", "p", "m");
    for (line, in_flight) in [(before, 1), (known, 0), (new, 1), (other, 0)] {
        tally.end(line, &ended(&outcome));
        assert_eq!(heir.report(None).counts.in_flight, in_flight);
    }
    tally.bequeath(&heir);
    let counts = heir.report(None).counts;
    assert_eq!((counts.requests, counts.succeeded), (5, 5));
    assert_eq!(total(&tally).requests, 0);
}

#[test]
fn threads_that_make_lines_at_once_make_one_for_each_model() {
    let tally = Tally::default();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for n in 0..2_000 {
                    served(&tally, &format!("model-{}", n % 40));
                }
            });
        }
    });
    let report = tally.report();
    assert_eq!(total(&tally).requests, 16_000);
    assert_eq!(report.len(), 41);
    let firsts = report.iter().filter(|line| line.counts.requests == 400);
    assert!(firsts.count() >= FEW);
}
