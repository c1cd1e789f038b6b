//! The shortest list of steps that still breaks a promise.

/// Leaves out what it can: halves first, then ever smaller parts, down to single steps.
pub fn shrunk<T: Clone>(steps: &[T], breaks: impl Fn(&[T]) -> bool) -> Vec<T> {
    let mut steps = steps.to_vec();
    let mut part = steps.len().div_ceil(2);
    while part > 0 {
        let mut at = 0;
        let mut has_shrunk = false;
        while at < steps.len() {
            let end = (at + part).min(steps.len());
            let mut fewer = steps.clone();
            fewer.drain(at..end);
            if breaks(&fewer) {
                steps = fewer;
                has_shrunk = true;
            } else {
                at = end;
            }
        }
        part = match part {
            1 if has_shrunk => 1,
            part => part / 2,
        };
    }
    steps
}

#[test]
fn what_is_not_needed_is_left_out() {
    let needs = |needed: &[u32]| {
        let needed = needed.to_vec();
        shrunk(&(0..40).collect::<Vec<u32>>(), move |steps| {
            needed.iter().all(|one| steps.contains(one))
        })
    };
    assert_eq!(needs(&[3, 17, 39]), [3, 17, 39]);
    assert_eq!(needs(&[0]), [0]);
    assert!(needs(&[]).is_empty());
}
