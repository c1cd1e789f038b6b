//! Conversation keys: which requests belong to one conversation, from models and messages.
//!
//! A client sends the whole conversation with every request. When a reply has come, the credential that gave it is bound to
//! the conversation's [storage keys](storage_keys); the next request, which has that conversation as its beginning, finds it
//! by its [lookup keys](lookup_keys). Clients that drop the oldest messages are found as well, because the storage keys
//! cover the conversation's ends.
//!
//! Two keys are equal when the models are, in [normal form](normalized_model), and the messages are, [without the
//! thoughts](sanitized) that clients do not send back; the letter case of a role does not count. All functions take the
//! messages as they came: they clean them by themselves.
//!
//! ```
//! use credpool::Message;
//! use credpool::conversation::{lookup_keys, storage_keys};
//!
//! let asked = vec![Message::new("user", "hi")];
//! let reply = Message::new("assistant", "<think>a greeting</think>Hello!");
//! let stored = storage_keys("gemini-2.5-pro", asked.iter().chain([&reply]));
//!
//! let next = vec![
//!     Message::new("user", "hi"),
//!     Message::new("assistant", "Hello!"),
//!     Message::new("user", "How are you?"),
//! ];
//! let looked_up = lookup_keys("gemini-2.5-pro-web", &next);
//! assert_eq!(looked_up[0].key, stored[0].key);
//! assert_eq!(looked_up[0].prefix_len, 2);
//! ```

use std::borrow::Cow;
use std::fmt;

use sha2::{Digest, Sha256};

use crate::request::Message;

/// The digest of a model and a sequence of messages: SHA-256, cut to 128 bits. It does not reveal them.
///
/// ```
/// use credpool::Message;
/// use credpool::conversation::{ConversationKey, storage_keys};
///
/// let key = storage_keys("m", &[Message::new("user", "hi")])[0].key;
/// assert_eq!(ConversationKey::from_bytes(*key.as_bytes()), key);
/// assert_eq!(key.to_string().len(), 32);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConversationKey([u8; 16]);

/// A key, and how many messages it covers.
///
/// ```
/// use credpool::Message;
/// use credpool::conversation::storage_keys;
///
/// let keys = storage_keys("m", &[Message::new("user", "hi")]);
/// assert_eq!(keys[0].prefix_len, 1);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct PrefixKey {
    /// The key.
    pub key: ConversationKey,
    /// The number of messages that it covers: the longer, the surer that it is the same conversation.
    pub prefix_len: usize,
}

/// The keys under which the beginnings of a conversation may be known, the longest first: one for every prefix of at least
/// two messages that ends with a reply or an instruction (role `assistant` or `system`, trimmed, in any letter case).
///
/// Costs one hash over the messages' text, whatever the number of prefixes.
///
/// ```
/// use credpool::Message;
/// use credpool::conversation::lookup_keys;
///
/// let messages = ["user", "assistant", "user", "assistant", "user"].map(|role| Message::new(role, "x"));
/// let lengths: Vec<_> = lookup_keys("m", &messages).iter().map(|found| found.prefix_len).collect();
/// assert_eq!(lengths, [4, 2]);
/// ```
pub fn lookup_keys<'a>(
    model: &str,
    messages: impl IntoIterator<Item = &'a Message>,
) -> Vec<PrefixKey> {
    let mut hasher = Hasher::of(model);
    let mut keys = Vec::new();
    for (before, message) in messages.into_iter().enumerate() {
        hasher.add(&digest(message));
        let prefix_len = before + 1;
        if prefix_len >= SHORTEST && ends_a_turn(message) {
            keys.push(PrefixKey {
                key: hasher.clone().key(),
                prefix_len,
            });
        }
    }
    keys.reverse();
    keys
}

/// The keys under which a conversation is to be remembered, the longest first: one for every suffix of at least two
/// messages, where the last message is a reply or an instruction as in [`lookup_keys`]; otherwise one for the whole
/// conversation, if it has a message at all.
///
/// Each message is hashed once; each suffix costs another hash over 16 bytes a message. Of a conversation with more than 256
/// such suffixes only the 256 longest count, so that a very long one costs neither much time nor many keys: a client that
/// drops messages drops the oldest, a few at a time.
///
/// ```
/// use credpool::Message;
/// use credpool::conversation::storage_keys;
///
/// let messages = ["user", "assistant", "user", "assistant"].map(|role| Message::new(role, "x"));
/// let lengths = |messages: &[Message]| -> Vec<usize> {
///     storage_keys("m", messages).iter().map(|stored| stored.prefix_len).collect()
/// };
/// assert_eq!(lengths(&messages), [4, 3, 2]);
/// assert_eq!(lengths(&messages[..3]), [3]);
/// ```
pub fn storage_keys<'a>(
    model: &str,
    messages: impl IntoIterator<Item = &'a Message>,
) -> Vec<PrefixKey> {
    let mut digests = Vec::new();
    let mut last = None;
    for message in messages {
        digests.push(digest(message));
        last = Some(message);
    }
    let Some(last) = last else {
        return Vec::new();
    };
    let suffixes = if ends_a_turn(last) {
        digests.len() + 1 - SHORTEST
    } else {
        0
    };
    let model = Hasher::of(model);
    // Suffixes of one conversation differ in length, so that no key comes twice.
    (0..suffixes.clamp(1, MOST_SUFFIXES))
        .map(|start| {
            let suffix = &digests[start..];
            let mut hasher = model.clone();
            for digest in suffix {
                hasher.add(digest);
            }
            PrefixKey {
                key: hasher.key(),
                prefix_len: suffix.len(),
            }
        })
        .collect()
}

/// The name under which a model's conversations are known: trimmed, lower-cased, without one `-web` at its end.
///
/// ```
/// use credpool::conversation::normalized_model;
///
/// assert_eq!(normalized_model(" Gemini-2.5-Pro-Web "), "gemini-2.5-pro");
/// ```
pub fn normalized_model(model: &str) -> String {
    let mut model = model.trim().to_lowercase();
    if model.ends_with(WEB) {
        model.truncate(model.len() - WEB.len());
    }
    model
}

/// The messages without what clients do not send back: the text of each message of the assistant loses its blocks from
/// `<think>` to the nearest `</think>`, in any letter case and over line ends, and is trimmed.
///
/// Borrowed where nothing changes. The other functions of this module do this by themselves.
///
/// ```
/// use credpool::Message;
/// use credpool::conversation::sanitized;
///
/// let messages = [Message::new("assistant", "<think>\nhm\n</think>\n\n42")];
/// assert_eq!(*sanitized(&messages), [Message::new("assistant", "42")]);
/// ```
pub fn sanitized(messages: &[Message]) -> Cow<'_, [Message]> {
    if messages
        .iter()
        .all(|message| *message.text == *spoken(message))
    {
        return Cow::Borrowed(messages);
    }
    messages
        .iter()
        .map(|message| Message::new(message.role.clone(), spoken(message)))
        .collect()
}

impl ConversationKey {
    /// The key with these bytes: one that was stored.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The key's bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for ConversationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ConversationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConversationKey({self})")
    }
}

/// Takes the model, whose length goes before it, and then digests of one length each: no two sequences are written alike.
#[derive(Clone)]
struct Hasher(Sha256);

impl Hasher {
    fn of(model: &str) -> Self {
        let mut hasher = Sha256::new();
        update(&mut hasher, &normalized_model(model));
        Self(hasher)
    }

    fn add(&mut self, message: &[u8; 16]) {
        self.0.update(message);
    }

    fn key(self) -> ConversationKey {
        ConversationKey(half(self.0))
    }
}

fn digest(message: &Message) -> [u8; 16] {
    let mut hasher = Sha256::new();
    update(&mut hasher, &message.role.to_lowercase());
    update(&mut hasher, &spoken(message));
    half(hasher)
}

fn update(hasher: &mut Sha256, text: &str) {
    hasher.update((text.len() as u64).to_be_bytes());
    hasher.update(text);
}

fn half(hasher: Sha256) -> [u8; 16] {
    let digest: [u8; 32] = hasher.finalize().into();
    let mut half = [0; 16];
    half.copy_from_slice(&digest[..16]);
    half
}

/// A message's text without thoughts, where it is the assistant's.
fn spoken(message: &Message) -> Cow<'_, str> {
    if !is_role(message, "assistant") {
        return Cow::Borrowed(&message.text);
    }
    match without_thoughts(&message.text) {
        Cow::Borrowed(text) => Cow::Borrowed(text.trim()),
        Cow::Owned(text) => Cow::Owned(text.trim().to_owned()),
    }
}

fn without_thoughts(text: &str) -> Cow<'_, str> {
    let mut kept = String::new();
    let mut rest = text;
    while let Some(open) = find_tag(rest, OPEN)
        && let Some(thought) = find_tag(&rest[open + OPEN.len()..], CLOSE)
    {
        kept.push_str(&rest[..open]);
        rest = &rest[open + OPEN.len() + thought + CLOSE.len()..];
    }
    if rest.len() == text.len() {
        return Cow::Borrowed(text);
    }
    kept.push_str(rest);
    Cow::Owned(kept)
}

/// Where `tag` (ASCII, `<` at its start alone) begins, in any letter case.
fn find_tag(text: &str, tag: &str) -> Option<usize> {
    text.match_indices('<').map(|(at, _)| at).find(|at| {
        text.as_bytes()[*at..]
            .get(..tag.len())
            .is_some_and(|found| found.eq_ignore_ascii_case(tag.as_bytes()))
    })
}

fn ends_a_turn(message: &Message) -> bool {
    is_role(message, "assistant") || is_role(message, "system")
}

fn is_role(message: &Message, role: &str) -> bool {
    message.role.trim().eq_ignore_ascii_case(role)
}

const OPEN: &str = "<think>";
const CLOSE: &str = "</think>";
const WEB: &str = "-web";

/// A key over fewer messages says too little about a conversation.
const SHORTEST: usize = 2;

const MOST_SUFFIXES: usize = 256;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn messages(pairs: &[(&str, &str)]) -> Vec<Message> {
        pairs
            .iter()
            .map(|(role, text)| Message::new(*role, *text))
            .collect()
    }

    #[test]
    fn thoughts_are_cut_from_the_first_opening_to_the_nearest_end() {
        for (text, spoken) in [
            ("<think>a</think>b", "b"),
            ("x <THINK>a\nb</Think> y", "x  y"),
            ("<think>a<think>b</think>c</think>d", "c</think>d"),
            ("<thi<think>x</think>nk>y</think>z", "<think>y</think>z"),
            ("<think>a", "<think>a"),
            ("</think>a<think>", "</think>a<think>"),
            ("é<think>é</think>é", "éé"),
            ("<<think>></think>", "<"),
        ] {
            let messages = messages(&[(" Assistant\t", text), ("user", text)]);
            let sanitized = sanitized(&messages);
            assert_eq!(sanitized[0].text, spoken);
            assert_eq!(sanitized[1].text, text);
        }
    }

    #[test]
    fn no_two_encodings_meet() {
        let key =
            |model: &str, pairs: &[(&str, &str)]| storage_keys(model, &messages(pairs))[0].key;
        let keys = [
            key("m", &[("user", "ab")]),
            key("mu", &[("ser", "ab")]),
            key("m", &[("usera", "b")]),
            key("m", &[("user ", "ab")]),
            key("m", &[("user", "a"), ("user", "b")]),
            key("m", &[("user", "b"), ("user", "a")]),
        ];
        for (i, key) in keys.iter().enumerate() {
            assert!(!keys[..i].contains(key), "{i}");
        }
        assert_eq!(key("m", &[("USER", "a")]), key(" M-web", &[("user", "a")]));
    }

    #[test]
    fn a_long_conversation_has_a_bounded_number_of_storage_keys() {
        let long = vec![Message::new("assistant", "x"); MOST_SUFFIXES + 10];
        let stored = storage_keys("m", &long);
        assert_eq!(stored.len(), MOST_SUFFIXES);
        assert_eq!(stored[0].prefix_len, long.len());
        assert_eq!(lookup_keys("m", &long).len(), long.len() - 1);
    }

    proptest! {
        #[test]
        fn a_reply_is_found_by_the_next_request(
            pairs in prop::collection::vec(("user|assistant|System ", "[a-c]{0,2}"), 0..6),
            dropped in 0_usize..6,
        ) {
            let mut conversation: Vec<_> = pairs
                .into_iter()
                .map(|(role, text)| Message::new(role, text))
                .collect();
            conversation.push(Message::new("user", "question"));
            conversation.push(Message::new("assistant", "<think>t</think> reply"));
            let stored = storage_keys("m", &conversation);

            let mut next = conversation[dropped.min(conversation.len() - 2)..].to_vec();
            let length = next.len();
            next.push(Message::new("user", "more"));
            let found = lookup_keys("m", &next)[0];
            prop_assert_eq!(found.prefix_len, length);
            prop_assert!(stored.contains(&found));
        }

        #[test]
        fn cleaning_never_panics_and_keeps_other_roles(text in "(<think>|</think>|[ <>é]){0,8}", role in "user|assistant") {
            let messages = [Message::new(role.clone(), text.clone())];
            let cleaned = sanitized(&messages);
            prop_assert!(cleaned[0].text.len() <= text.len());
            prop_assert!(role != "user" || cleaned[0].text == text);
        }
    }
}
