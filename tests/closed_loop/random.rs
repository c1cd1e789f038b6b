//! Draws that depend on nothing but what they are for and their number: each run of a table draws the same.

const SEED: u64 = 20_250_101;

/// A number from 0 to below 1.
pub fn draw(what: &str, number: u64) -> f64 {
    let named = what
        .bytes()
        .fold(SEED, |sum, byte| mixed(sum ^ u64::from(byte)));
    let drawn = mixed(named ^ mixed(number));
    (drawn >> 11) as f64 / (1_u64 << 53) as f64
}

/// The finalizer of `SplitMix64`.
fn mixed(state: u64) -> u64 {
    let mut mixed = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}
