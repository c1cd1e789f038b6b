//! Resource affinity (sticky routing): what a vendor keeps for one account (stored responses, files, batches, caches) is asked of that
//! account. `table`: where requests and answers name resources; `mentions`: finds them.

mod mentions;
mod table;
