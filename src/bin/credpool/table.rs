//! Tables that fit their terminal: columns that there is no room for, or in which nothing stands, are left out; texts that are too long
//! are cut.

use console::{Alignment, measure_text_width, pad_str};

use crate::output::{Output, Tone};
use crate::text::clean;

/// A column.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    /// It is left out of narrower terminals.
    pub(crate) from_width: usize,
    /// It is never wider.
    pub(crate) most: usize,
}

pub(crate) struct Table<'a> {
    columns: &'a [Column],
    rows: Vec<(Vec<String>, Tone)>,
}

impl<'a> Table<'a> {
    pub(crate) fn of(columns: &'a [Column]) -> Self {
        let names = columns.iter().map(|column| column.name.to_owned());
        Self {
            columns,
            rows: vec![(names.collect(), Tone::Heading)],
        }
    }

    /// Adds a row, with a cell for each column.
    pub(crate) fn row(&mut self, cells: &[String], tone: Tone) {
        let cells = cells.iter().map(|cell| clean(cell).into_owned()).collect();
        self.rows.push((cells, tone));
    }

    /// The lines: the names of the columns, then one for each row.
    pub(crate) fn lines(&self, output: &Output, width: usize) -> Vec<String> {
        let widths = self.widths(width);
        let line = |(cells, tone): &(Vec<String>, Tone)| {
            let cells = widths.iter().map(|(at, width)| {
                let cell = pad_str(&cells[*at], *width, Alignment::Left, Some("…"));
                cell.into_owned()
            });
            let line = cells.collect::<Vec<_>>().join(BETWEEN);
            output.paint(*tone, line.trim_end())
        };
        self.rows.iter().map(line).collect()
    }

    /// The columns that are shown, and their widths: each has what is in it, up to its limit, and the last one what is left.
    fn widths(&self, width: usize) -> Vec<(usize, usize)> {
        let mut left = width;
        let mut widths = Vec::new();
        for (at, column) in self.columns.iter().enumerate() {
            let is_empty = self.rows[1..].iter().all(|(cells, _)| cells[at].is_empty());
            if column.from_width > width || is_empty {
                continue;
            }
            let between = if widths.is_empty() { 0 } else { BETWEEN.len() };
            let cells = self
                .rows
                .iter()
                .map(|(cells, _)| measure_text_width(&cells[at]));
            let widest = cells.max().unwrap_or(0);
            let is_first = widths.is_empty();
            let most = if is_first {
                column.most.min(width / 3)
            } else {
                column.most
            };
            let given = widest.min(most).min(left.saturating_sub(between));
            left = left.saturating_sub(between + given);
            widths.push((at, given));
        }
        widths
    }
}

const BETWEEN: &str = "  ";

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 4] = [
        Column {
            name: "A",
            from_width: 0,
            most: 10,
        },
        Column {
            name: "EMPTY",
            from_width: 0,
            most: 10,
        },
        Column {
            name: "WIDE",
            from_width: 40,
            most: 4,
        },
        Column {
            name: "LAST",
            from_width: 0,
            most: 100,
        },
    ];

    #[test]
    fn columns_fit_and_what_is_empty_is_left_out() {
        let mut table = Table::of(&COLUMNS);
        let cells = |texts: [&str; 4]| texts.map(str::to_owned);
        table.row(
            &cells(["größer", "", "abcdef", "x".repeat(90).as_str()]),
            Tone::Plain,
        );
        table.row(&cells(["中文", "", "b", "short"]), Tone::Plain);
        assert_eq!(table.widths(30), [(0, 6), (3, 22)]);
        assert_eq!(table.widths(40), [(0, 6), (2, 4), (3, 26)]);
        assert_eq!(table.widths(10_000), [(0, 6), (2, 4), (3, 90)]);
        // However narrow it is, nothing is wider than the terminal.
        for width in 1..60 {
            let sum: usize = table.widths(width).iter().map(|(_, given)| given + 2).sum();
            assert!(sum <= width + 2 || table.widths(width).iter().any(|(_, given)| *given == 0));
        }
    }
}
