//! A random sample of candidates, for selectors that compare.

use smallvec::SmallVec;

use super::Candidate;

pub(super) struct Drawn(SmallVec<[Candidate; 16]>);

impl Drawn {
    /// Which one costs the least; of those that cost the same, the one with the fewest requests in flight.
    ///
    /// Candidates are not dropped here: what compares them may hold a lock.
    pub(super) fn least(&self, cost: impl Fn(&Candidate) -> f64) -> Option<usize> {
        let costs = self.0.iter().map(|one| (cost(one), one.in_flight()));
        let least = costs
            .enumerate()
            .min_by(|(_, one), (_, other)| one.0.total_cmp(&other.0).then(one.1.cmp(&other.1)));
        least.map(|(index, _)| index)
    }

    pub(super) fn take(&mut self, index: Option<usize>) -> Option<Candidate> {
        index.map(|index| self.0.swap_remove(index))
    }
}

impl FromIterator<Candidate> for Drawn {
    fn from_iter<I: IntoIterator<Item = Candidate>>(candidates: I) -> Self {
        Self(candidates.into_iter().collect())
    }
}
