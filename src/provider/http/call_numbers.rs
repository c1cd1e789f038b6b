//! [`CallNumbers`]: which of a reply's tool calls a piece belongs to.

use std::collections::BTreeMap;

/// Numbers the tool calls of a reply in the order in which they begin. Vendors count with gaps, from other things, or not at all.
#[derive(Debug, Default)]
pub(crate) struct CallNumbers {
    begun: usize,
    /// The call that began last under a vendor's number, with its id.
    latest: BTreeMap<Option<u64>, (usize, Option<String>)>,
}

impl CallNumbers {
    /// The number of a call that begins under the vendor's number, if it has one.
    pub(crate) fn begin(&mut self, vendors: Option<u64>, id: Option<&str>) -> usize {
        let number = self.begun;
        self.begun += 1;
        let call = (number, id.map(str::to_owned));
        self.latest.insert(vendors, call);
        number
    }

    /// The number of the call that has begun under the vendor's number.
    pub(crate) fn begun(&self, vendors: Option<u64>) -> Option<usize> {
        self.latest.get(&vendors).map(|(number, _)| *number)
    }

    /// The number of the call that a piece belongs to. Another id begins another call, even under the same number; without number and id
    /// a name does.
    pub(crate) fn of_piece(
        &mut self,
        vendors: Option<u64>,
        id: Option<&str>,
        has_name: bool,
    ) -> usize {
        let continues = |known: &Option<String>| match id {
            Some(id) => known.as_deref() == Some(id),
            None => vendors.is_some() || !has_name,
        };
        match self.latest.get(&vendors) {
            Some((number, known)) if continues(known) => *number,
            _ => self.begin(vendors, id),
        }
    }
}
