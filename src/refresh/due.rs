//! Due times: whether and when a record is due for a refresh. Pure, but for a record's own evaluator.

use std::time::Duration;

use super::contained;
use super::refresh_window::{last_refresh, lifetime, own_lead, provider_refresh_lead};
use crate::auth::Auth;
use crate::clock::{Timestamp, earlier, later};

/// Whether `auth` should be refreshed at `now`.
///
/// The first of these that applies decides:
///
/// 1. A disabled record, or one whose `next_refresh_after` lies ahead: no.
/// 2. A runtime with a [`RefreshEvaluator`](crate::RefreshEvaluator): its answer (no, if it panics).
/// 3. A [preferred interval](Auth::preferred_refresh_interval): yes when the tokens end within it, when the last refresh
///    is unknown, or when that was at least the interval ago.
/// 4. A [lead](provider_refresh_lead): yes when the tokens end within it. Without a known expiry, when the last refresh
///    is unknown or was at least the lead ago.
///
/// Otherwise no. The last refresh is the record's own time, else `last_refresh`, `lastRefresh`, `last_refreshed_at` or
/// `lastRefreshedAt` of the metadata, then of the attributes. All deadlines are inclusive.
///
/// A token that another program renews ([`import`](crate::import)) is due when it ends: that program's file is read again then.
///
/// The manager refreshes by the same rules, and adds some of its own: a credential that is an API key alone is never
/// refreshed; a known expiry has a default lead, a quarter of the lifetime and at most five minutes; a service account or a
/// client with a secret that has no access token yet gets one immediately; and every moment is put off by a little random time, so
/// that tokens that expire together are not refreshed together.
///
/// ```
/// use credpool::{Auth, should_refresh};
/// use time::macros::utc_datetime;
///
/// let auth = Auth::new("example")
///     .with_metadata("expires_at", "2025-01-01T12:00:00Z")
///     .with_metadata("last_refresh", "2025-01-01T11:00:00Z")
///     .with_metadata("refresh_interval", "10m");
/// assert!(should_refresh(&auth, utc_datetime!(2025-01-01 11:10)));
/// assert!(!should_refresh(&auth, utc_datetime!(2025-01-01 11:09:59)));
/// ```
pub fn should_refresh(auth: &Auth, now: Timestamp) -> bool {
    match due(auth, None) {
        Due::Never => false,
        Due::At(at) => at <= now,
        Due::Asks => {
            auth.next_refresh_after.is_none_or(|after| after <= now) && asks_for_refresh(auth, now)
        }
    }
}

/// When a record is due for a refresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Not before something about it changes.
    Never,
    /// Its runtime decides, from `next_refresh_after` on: [`should_refresh`] asks it.
    Asks,
    /// From this moment on; [`Timestamp::MIN`] where it is due immediately.
    At(Timestamp),
}

/// When `auth` is due. `default_lead` counts where an expiry is known and neither the runtime nor the provider has a lead.
pub(crate) fn due(auth: &Auth, default_lead: Option<Duration>) -> Due {
    if auth.disabled {
        return Due::Never;
    }
    if has_evaluator(auth) {
        return Due::Asks;
    }
    by_interval_or_lead(auth, default_lead).map_or(Due::Never, |(at, _)| {
        Due::At(auth.next_refresh_after.map_or(at, |after| at.max(after)))
    })
}

/// When the manager refreshes `auth`, whatever [`Auth::next_refresh_after`] says: as [`due`], but a key alone never, and
/// immediately where a credential that can get its tokens by itself has none yet. `chance`, from 0 to 1, puts the moment off by that
/// part of what does no harm.
pub(super) fn due_in_pool(auth: &Auth, chance: f64) -> Due {
    if auth.disabled || auth.is_api_key() {
        return Due::Never;
    }
    if has_evaluator(auth) {
        return Due::Asks;
    }
    if auth.awaits_first_token() {
        return Due::At(AT_ONCE);
    }
    by_interval_or_lead(auth, Some(own_lead(auth))).map_or(Due::Never, |(at, span)| {
        let most = (span / 2).min(MOST_JITTER);
        Due::At(later(at, most.mul_f64(chance.clamp(0.0, 1.0))))
    })
}

/// Whether a record is due before `moment`.
pub(super) fn is_due_before(auth: &Auth, moment: Timestamp) -> bool {
    match due_in_pool(auth, 0.0) {
        Due::Never => false,
        Due::Asks => true,
        Due::At(at) => at < moment,
    }
}

/// From this moment on a call waits for new tokens rather than be made with the old ones: half a minute before they end, or a
/// tenth of their lifetime. `None` where it is unknown when they end.
pub(super) fn stretch(auth: &Auth) -> Option<(Timestamp, Timestamp)> {
    let end = auth.expiration_time().at()?;
    let last =
        lifetime(auth, end).map_or(LAST_STRETCH, |lifetime| (lifetime / 10).min(LAST_STRETCH));
    Some((earlier(end, last), end))
}

/// When, and how much time there is for it.
fn by_interval_or_lead(
    auth: &Auth,
    default_lead: Option<Duration>,
) -> Option<(Timestamp, Duration)> {
    let expires = auth.expiration_time().at();
    // Its holder refreshes it before that.
    if auth.holder().is_some() {
        auth.held_in()?;
        return Some((expires?, Duration::ZERO));
    }
    if let Some(interval) = auth.preferred_refresh_interval() {
        let by_age = last_refresh(auth).map_or(AT_ONCE, |last| later(last, interval));
        let at = expires.map_or(by_age, |at| earlier(at, interval).min(by_age));
        return Some((at, interval / 5));
    }
    let lead = provider_refresh_lead(&auth.provider, auth.runtime.as_deref());
    if let Some(at) = expires {
        let lead = lead.or(default_lead)?;
        return Some((earlier(at, lead), lead));
    }
    let lead = lead?;
    let at = last_refresh(auth).map_or(AT_ONCE, |last| later(last, lead));
    Some((at, lead / 5))
}

fn has_evaluator(auth: &Auth) -> bool {
    auth.runtime.as_deref().is_some_and(|runtime| {
        contained("a runtime", || runtime.refresh_evaluator().is_some()).unwrap_or(false)
    })
}

/// Whether the runtime of a record for which [`due_in_pool`] asks wants a refresh now.
pub(super) fn asks_for_refresh(auth: &Auth, now: Timestamp) -> bool {
    auth.runtime.as_deref().is_some_and(|runtime| {
        contained("a refresh evaluator", || {
            runtime
                .refresh_evaluator()
                .is_some_and(|evaluator| evaluator.should_refresh(now, auth))
        })
        .unwrap_or(false)
    })
}

/// Due whatever the clock shows.
const AT_ONCE: Timestamp = Timestamp::MIN;

/// The most by which chance puts a refresh off.
const MOST_JITTER: Duration = Duration::from_secs(150);

const LAST_STRETCH: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::auth::{AuthRuntime, RefreshEvaluator};

    /// A runtime with a lead and, maybe, an opinion.
    struct Runtime {
        lead: Option<Duration>,
        opinion: Option<Opinion>,
    }

    struct Opinion(bool);

    impl RefreshEvaluator for Opinion {
        fn should_refresh(&self, _: Timestamp, _: &Auth) -> bool {
            self.0
        }
    }

    impl AuthRuntime for Runtime {
        fn refresh_evaluator(&self) -> Option<&dyn RefreshEvaluator> {
            self.opinion
                .as_ref()
                .map(|opinion| opinion as &dyn RefreshEvaluator)
        }

        fn refresh_lead(&self) -> Option<Duration> {
            self.lead
        }
    }

    struct Panics;

    impl RefreshEvaluator for Panics {
        fn should_refresh(&self, _: Timestamp, _: &Auth) -> bool {
            panic!("on purpose")
        }
    }

    impl AuthRuntime for Panics {
        fn refresh_evaluator(&self) -> Option<&dyn RefreshEvaluator> {
            Some(self)
        }
    }

    /// The facts that the rules speak of, in whole seconds since 1970.
    #[derive(Clone, Copy, Debug)]
    struct Facts {
        disabled: bool,
        next_refresh_after: Option<i64>,
        opinion: Option<bool>,
        interval: Option<u32>,
        lead: Option<u32>,
        default_lead: Option<u32>,
        expires: Option<i64>,
        own_last: Option<i64>,
        metadata_last: Option<i64>,
        attribute_last: Option<i64>,
        now: i64,
    }

    /// The rules word by word, by subtraction on plain integers.
    fn naive(facts: &Facts) -> bool {
        if facts.disabled {
            return false;
        }
        if let Some(after) = facts.next_refresh_after
            && facts.now < after
        {
            return false;
        }
        if let Some(opinion) = facts.opinion {
            return opinion;
        }
        let last = facts
            .own_last
            .or(facts.metadata_last)
            .or(facts.attribute_last);
        if let Some(interval) = facts.interval.filter(|interval| *interval > 0) {
            if let Some(expires) = facts.expires
                && (expires <= facts.now || expires - facts.now <= i64::from(interval))
            {
                return true;
            }
            return match last {
                None => true,
                Some(last) => facts.now - last >= i64::from(interval),
            };
        }
        let own_lead = facts.lead.filter(|lead| *lead > 0);
        if let Some(expires) = facts.expires {
            return match own_lead.or(facts.default_lead) {
                None => false,
                Some(lead) => expires - facts.now <= i64::from(lead),
            };
        }
        match (own_lead, last) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(lead), Some(last)) => facts.now - last >= i64::from(lead),
        }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_timestamp(seconds).unwrap()
    }

    fn seconds(seconds: u32) -> Duration {
        Duration::from_secs(u64::from(seconds))
    }

    fn record(facts: &Facts) -> Auth {
        let mut auth = Auth::new("nobody has registered a lead for this");
        auth.disabled = facts.disabled;
        auth.next_refresh_after = facts.next_refresh_after.map(at);
        auth.last_refreshed_at = facts.own_last.map(at);
        auth.runtime = Some(Arc::new(Runtime {
            lead: facts.lead.map(seconds),
            opinion: facts.opinion.map(Opinion),
        }));
        if let Some(interval) = facts.interval {
            auth = auth.with_metadata("refreshInterval", interval);
        }
        if let Some(expires) = facts.expires {
            auth = auth.with_metadata("expiry", expires);
        }
        if let Some(last) = facts.metadata_last {
            auth = auth.with_metadata("lastRefresh", last);
        }
        if let Some(last) = facts.attribute_last {
            auth = auth.with_attribute("last_refreshed_at", last.to_string());
        }
        auth
    }

    prop_compose! {
        fn facts()(
            disabled in prop::bool::weighted(0.1),
            next_refresh_after in prop::option::weighted(0.3, moment()),
            opinion in prop::option::weighted(0.2, any::<bool>()),
            interval in prop::option::weighted(0.4, 0_u32..20),
            lead in prop::option::weighted(0.5, 0_u32..20),
            default_lead in prop::option::weighted(0.5, 1_u32..20),
            expires in prop::option::weighted(0.6, moment()),
            own_last in prop::option::weighted(0.4, moment()),
            metadata_last in prop::option::weighted(0.4, moment()),
            attribute_last in prop::option::weighted(0.4, moment()),
            now in moment(),
        ) -> Facts {
            Facts {
                disabled, next_refresh_after, opinion, interval, lead, default_lead, expires,
                own_last, metadata_last, attribute_last, now,
            }
        }
    }

    /// Close together, so that deadlines meet.
    fn moment() -> impl Strategy<Value = i64> {
        1_758_700_000_i64..1_758_700_040
    }

    proptest! {
        #[test]
        fn agrees_with_the_rules(facts in facts()) {
            let auth = record(&facts);
            let without_default = Facts { default_lead: None, ..facts };
            prop_assert_eq!(should_refresh(&auth, at(facts.now)), naive(&without_default));
        }

        #[test]
        fn due_tells_the_moment_from_which_the_rules_say_yes(facts in facts()) {
            let auth = record(&facts);
            match due(&auth, facts.default_lead.map(seconds)) {
                Due::Asks => prop_assert!(!facts.disabled && facts.opinion.is_some()),
                Due::Never => prop_assert!(facts.disabled || facts.opinion.is_none()),
                Due::At(_) => prop_assert!(!facts.disabled && facts.opinion.is_none()),
            }
            if facts.opinion.is_none() {
                let said = match due(&auth, facts.default_lead.map(seconds)) {
                    Due::At(due) => due <= at(facts.now),
                    Due::Never | Due::Asks => false,
                };
                prop_assert_eq!(said, naive(&facts));
            }
        }
    }

    #[test]
    fn a_first_token_is_due_at_once() {
        let client = Auth::client_credentials("nobody's", "https://h/token", "id", "secret");
        assert_eq!(due_in_pool(&client, 1.0), Due::At(AT_ONCE));
        assert!(
            !should_refresh(&client, at(0)),
            "the rules say nothing of it"
        );
        let mut off = client.clone();
        off.disabled = true;
        assert_eq!(due_in_pool(&off, 0.0), Due::Never);
        let served = client.with_metadata("access_token", "t");
        assert_eq!(due_in_pool(&served, 0.0), Due::Never);
        let ends = served.with_metadata("expires_at", 1_758_700_000);
        assert_eq!(due_in_pool(&ends, 0.0), Due::At(at(1_758_700_000 - 300)));
        assert_eq!(due_in_pool(&Auth::api_key("p", "k"), 0.0), Due::Never);
    }

    #[test]
    fn a_token_that_another_program_renews_is_due_when_it_ends() {
        let ends = living(3600);
        let followed = ends.clone().held("codex", Some("/file".as_ref()), "");
        for chance in [0.0, 1.0] {
            let due = due_in_pool(&followed, chance);
            assert_eq!(due, Due::At(at(1_758_700_000 + 3600)));
        }
        assert_eq!(due_in_pool(&ends.held("codex", None, ""), 0.0), Due::Never);
        let endless = Auth::new("p").with_metadata("access_token", "t");
        let endless = endless.held("codex", Some("/file".as_ref()), "");
        assert_eq!(due_in_pool(&endless, 0.0), Due::Never);
    }

    /// A token that came at 1,758,700,000 and lives for `seconds`.
    fn living(seconds: i64) -> Auth {
        let mut auth = Auth::new("nobody has registered a lead for this")
            .with_metadata("access_token", "t")
            .with_metadata("expires_at", 1_758_700_000 + seconds);
        auth.last_refreshed_at = Some(at(1_758_700_000));
        auth
    }

    #[test]
    fn the_lead_is_a_quarter_of_the_lifetime_and_five_minutes_at_most() {
        for (lives, first, last) in [(3600, 3300, 3450), (1200, 900, 1050), (60, 45, 52)] {
            let came = 1_758_700_000;
            assert_eq!(
                due_in_pool(&living(lives), 0.0),
                Due::At(at(came + first)),
                "{lives}"
            );
            let Due::At(late) = due_in_pool(&living(lives), 1.0) else {
                panic!("it is due")
            };
            assert_eq!(late.unix_timestamp(), came + last, "{lives}");
        }
    }

    #[test]
    fn calls_wait_in_the_last_half_minute_or_tenth_of_the_lifetime() {
        let came = 1_758_700_000;
        for (lives, from) in [(3600, 3570), (300, 270), (100, 90)] {
            let expected = (at(came + from), at(came + lives));
            assert_eq!(stretch(&living(lives)), Some(expected), "{lives}");
        }
        let mut unknown = living(3600);
        unknown.last_refreshed_at = None;
        assert_eq!(stretch(&unknown).unwrap().0, at(came + 3570));
        assert_eq!(stretch(&Auth::new("p")), None);
    }

    #[test]
    fn the_ends_of_the_calendar_are_no_obstacle() {
        let mut auth = Auth::new("p").with_metadata("refresh_interval", "2000000h");
        auth.last_refreshed_at = Some(Timestamp::MAX);
        assert_eq!(due(&auth, None), Due::At(Timestamp::MAX));
        assert!(!should_refresh(&auth, at(0)));
        let auth = auth.with_metadata("expired", "0001-01-02T00:00:00Z");
        assert!(should_refresh(&auth, at(0)));
    }

    #[test]
    fn an_unset_entry_ends_the_search() {
        let auth = Auth::new("p")
            .with_metadata("refresh_interval", 60)
            .with_metadata("last_refresh", 0)
            .with_metadata("lastRefresh", 1_758_700_000);
        assert_eq!(due(&auth, None), Due::At(Timestamp::MIN));
    }

    #[test]
    fn an_evaluator_that_panics_says_no() {
        let mut auth = Auth::new("p");
        auth.runtime = Some(Arc::new(Panics));
        assert!(!should_refresh(&auth, at(0)));
    }
}
