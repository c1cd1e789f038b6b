//! Pools of a size and state.

use std::sync::Arc;
use std::time::Duration;

use credpool::{Auth, FailurePolicy, Manager, Selector};

use crate::support::Nothing;

pub(crate) const MODEL: &str = "m";

/// Which credentials are ready.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum State {
    Ready,
    Half,
    AllButOne,
    Cooling,
}

impl State {
    pub(crate) const ALL: [Self; 4] = [Self::Ready, Self::Half, Self::AllButOne, Self::Cooling];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ready => "all ready",
            Self::Half => "half cooling",
            Self::AllButOne => "all but one cooling",
            Self::Cooling => "all cooling",
        }
    }

    pub(crate) fn cools(self, n: usize, size: usize) -> bool {
        match self {
            Self::Ready => false,
            Self::Half => n % 2 == 1,
            Self::AllButOne => n != size / 2,
            Self::Cooling => true,
        }
    }
}

/// In what order the records came, which is how they lie in memory.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Order {
    Id,
    Scattered,
}

impl Order {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Scattered => "scattered",
        }
    }

    /// The numbers below `size`, in this order.
    pub(crate) fn of(self, size: usize) -> Vec<usize> {
        let mut numbers: Vec<usize> = (0..size).collect();
        if self == Self::Scattered {
            // Fisher and Yates, with a generator of Lehmer's.
            let mut state = 0x853c_49e6_748f_ea9b_u128 | 1;
            for last in (1..size).rev() {
                state = state.wrapping_mul(0xda94_2042_e4dd_58b5);
                let draw = usize::try_from(state >> 64 & u128::from(u32::MAX)).unwrap();
                numbers.swap(last, draw % (last + 1));
            }
        }
        numbers
    }
}

pub(crate) fn name(n: usize) -> String {
    format!("credential-{n:06}")
}

/// Records that no store keeps.
pub(crate) fn pool(
    size: usize,
    state: State,
    order: Order,
    selector: Arc<dyn Selector>,
) -> Manager {
    let manager = Manager::builder()
        .policy(
            FailurePolicy::default()
                .without_waiting()
                .with_last_resort(false),
        )
        .selector(selector)
        .build()
        .unwrap();
    manager.register_executor(Nothing { fails: false });
    for n in order.of(size) {
        let auth = Auth::api_key("p", "k").with_id(name(n));
        manager.register(auth.runtime_only()).unwrap();
    }
    for n in (0..size).filter(|n| state.cools(*n, size)) {
        manager.cool_down(&name(n), Some(MODEL), DAY).unwrap();
    }
    manager
}

const DAY: Duration = Duration::from_secs(24 * 3600);
