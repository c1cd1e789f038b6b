//! Tables that fit their terminal: columns that there is no room for are left out, texts that are too long are cut.

use comfy_table::{ColumnConstraint, ContentArrangement, Table as Cells, Width, presets};
use console::measure_text_width;

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
        Self {
            columns,
            rows: Vec::new(),
        }
    }

    /// Adds a row, with a cell for each column.
    pub(crate) fn row(&mut self, cells: &[String], tone: Tone) {
        let cells = cells.iter().map(|cell| clean(cell).into_owned()).collect();
        self.rows.push((cells, tone));
    }

    /// The lines: the names of the columns, then one for each row.
    pub(crate) fn lines(&self, output: &Output, width: usize) -> Vec<String> {
        let tones = std::iter::once(Tone::Heading).chain(self.rows.iter().map(|(_, tone)| *tone));
        let text = self.layout(width);
        let lines = text.lines().map(str::trim_end);
        let painted = lines
            .zip(tones)
            .map(|(line, tone)| output.paint(tone, line));
        painted.collect()
    }

    fn layout(&self, width: usize) -> String {
        let shown: Vec<usize> = (0..self.columns.len())
            .filter(|at| self.columns[*at].from_width <= width)
            .collect();
        let pick = |cells: &[String]| {
            shown
                .iter()
                .map(|at| cells[*at].clone())
                .collect::<Vec<_>>()
        };
        let names: Vec<String> = self
            .columns
            .iter()
            .map(|column| column.name.to_owned())
            .collect();
        let mut table = Cells::new();
        table
            .load_style(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(u16::try_from(width).unwrap_or(u16::MAX));
        for cells in std::iter::once(&names).chain(self.rows.iter().map(|(cells, _)| cells)) {
            let mut row = comfy_table::Row::from(pick(cells));
            row.max_height(1);
            table.add_row(row);
        }
        let widest = |at: usize| {
            let cells = self.rows.iter().map(|(cells, _)| &cells[at]);
            let cells = cells.chain(std::iter::once(&names[at]));
            cells
                .map(|cell| measure_text_width(cell))
                .max()
                .unwrap_or(0)
        };
        // All but the last column are as wide as what is in them, up to their limits; the last has the rest.
        let mut left = width;
        for (place, at) in shown.iter().enumerate() {
            let is_last = place + 1 == shown.len();
            let wanted = widest(*at).min(self.columns[*at].most);
            let given = if is_last {
                left.saturating_sub(1).max(1)
            } else {
                wanted + 2
            };
            let given = if is_last {
                given.min(widest(*at).max(1))
            } else {
                given
            };
            left = left.saturating_sub(given);
            if let Some(column) = table.column_mut(place) {
                column.set_padding((0, if is_last { 0 } else { 2 }));
                let fixed = u16::try_from(given).unwrap_or(u16::MAX);
                column.set_constraint(ColumnConstraint::Absolute(Width::Fixed(fixed)));
            }
        }
        table.to_string()
    }
}
