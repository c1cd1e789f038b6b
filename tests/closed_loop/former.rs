//! The figures of version 0.1.0, measured by this program over that version's public interface.

/// The columns of a row: calls, errors in percent, requests a call, share.
pub fn of(name: &str) -> Option<String> {
    let (_, figures) = FIGURES.iter().find(|(row, _)| *row == name)?;
    Some((*figures).to_owned())
}

#[rustfmt::skip]
const FIGURES: &[(&str, &str)] = &[
    ("40 keys, 1/s, burst 3, retry-after, 5 threads", "  6665  27.94   1.13  1.001"),
    ("40 keys, 1/s, burst 3, retry-after, 8 threads", " 19416  75.26   1.05  1.001"),
    ("40 keys, 1/s, burst 3, retry-after, 24 threads", " 76999  93.77   1.01  1.000"),
    ("40 keys, 1/s, burst 3, retry-after, 64 threads", "209460  97.71   1.00  0.999"),
    ("40 keys, 1/s, burst 3, headers, 5 threads", "  6890  30.36   1.13  1.000"),
    ("40 keys, 1/s, burst 3, headers, 8 threads", " 19835  75.80   1.05  1.000"),
    ("40 keys, 1/s, burst 3, headers, 24 threads", " 77497  93.81   1.01  1.000"),
    ("40 keys, 1/s, burst 3, headers, 64 threads", "212977  97.75   1.00  1.000"),
    ("40 keys, 1/s, burst 3, nothing told, 5 threads", "  7230  33.53   1.13  1.001"),
    ("40 keys, 1/s, burst 3, nothing told, 8 threads", " 19157  74.96   1.05  0.999"),
    ("40 keys, 1/s, burst 3, nothing told, 24 threads", " 75762  93.67   1.01  0.999"),
    ("40 keys, 1/s, burst 3, nothing told, 64 threads", "212130  97.74   1.00  1.001"),
    ("40 keys, 10 in each 10 s, retry-after, 8 threads", "  5474  12.09   1.15  1.002"),
    ("40 keys, 10 in each 10 s, retry-after, 64 threads", " 27312  82.43   1.03  1.000"),
    ("40 keys, 10 in each 10 s, headers, 8 threads", "  5582  13.87   1.14  1.002"),
    ("40 keys, 10 in each 10 s, headers, 64 threads", " 27623  82.59   1.03  1.002"),
    ("40 keys, 10 in each 10 s, nothing told, 8 threads", "  6269  23.32   1.14  1.001"),
    ("40 keys, 10 in each 10 s, nothing told, 64 threads", " 29248  83.55   1.03  1.002"),
    ("40 keys, 60,000 tokens/min, retry-after, 8 threads", " 16860  71.01   1.05  1.018"),
    ("40 keys, 60,000 tokens/min, retry-after, 64 threads", "177306  97.23   1.01  1.022"),
    ("40 keys, 60,000 tokens/min, headers, 8 threads", " 16635  70.66   1.06  1.017"),
    ("40 keys, 60,000 tokens/min, headers, 64 threads", "176349  97.20   1.01  1.027"),
    ("40 keys, 60,000 tokens/min, nothing told, 8 threads", " 17166  71.60   1.05  1.016"),
    ("40 keys, 60,000 tokens/min, nothing told, 64 threads", "206719  97.63   1.00  1.022"),
    ("40 keys, 1 at once, retry-after, 24 threads", " 28644   0.00   1.00  0.995"),
    ("40 keys, 1 at once, retry-after, 64 threads", "200037  96.09   1.01  0.163"),
    ("40 keys, 1 at once, nothing told, 24 threads", " 28644   0.00   1.00  0.995"),
    ("40 keys, 1 at once, nothing told, 64 threads", "202727  95.99   1.01  0.169"),
    ("40 keys, 2 at once, retry-after, 64 threads", "187817  93.77   1.01  0.152"),
    ("40 keys, 2 at once, nothing told, 64 threads", "187228  93.49   1.01  0.159"),
    ("40 keys, one account, 40/s, with limit_group, 8 threads", "  6898  30.30   1.13  1.002"),
    ("40 keys, one account, 40/s, without limit_group, 8 threads", "  6872  30.05   1.13  1.001"),
    ("40 keys, one account, 40/s, with limit_group, 64 threads", "147130  96.74   1.01  1.000"),
    ("40 keys, one account, 40/s, without limit_group, 64 threads", "145855  96.71   1.01  1.000"),
    ("40 keys, one account, 5/s, with limit_group, 24 threads", " 18538  96.77   1.01  0.998"),
    ("40 keys, one account, 5/s, without limit_group, 24 threads", " 18618  96.78   1.01  1.000"),
    ("3 keys, 5 % random 500", "  9793   4.98   1.00      -"),
    ("10 keys, 5 % random 500", "  9793   4.98   1.00      -"),
    ("10 keys, one always 500, others 1 %", " 10154  10.70   1.00      -"),
    ("10 keys, 50 calls/s, an outage of 60 s", "  5877  48.85   1.00      -"),
    ("an unusable key beside a good one, 2,000 calls", "  2000  94.95   0.05      -"),
    ("1 key, one 429, 20 calls of 45 s", "    20  85.00   0.20      -"),
    ("40 keys, 1/s, burst 3, 64 threads that cannot wait, demand 1.2", "  5642  15.14   1.00  0.998"),
    ("1 key, a quota said to last 5 h, back after 30 min", "   697  64.42   0.36      -"),
];
