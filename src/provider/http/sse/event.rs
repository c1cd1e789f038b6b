use bytes::Bytes;

use super::BUFFER;

/// One event.
///
/// ```
/// let mut reader = credpool::provider::SseReader::new(&b"data: [DONE]\n\n"[..]);
/// let event = reader.next_event()?.unwrap();
/// assert_eq!(event.data, "[DONE]");
/// # Ok::<(), credpool::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SseEvent {
    /// The event's name; `None` for the default, `message`.
    pub event: Option<String>,
    /// The `data` lines, joined by LF. Always valid UTF-8.
    pub data: Bytes,
    /// Whether it is an exception of an Amazon event stream, by which the stream has failed, whatever the data is; see
    /// [`AmazonEventReader`](crate::provider::AmazonEventReader). False for server-sent events.
    pub is_exception: bool,
}

/// The event that is being read.
#[derive(Default)]
pub(crate) struct Pending {
    event: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
}

impl Pending {
    pub(crate) fn len(&self) -> usize {
        self.event.len() + self.data.len()
    }

    pub(crate) fn field(&mut self, line: &[u8]) {
        let colon = line.iter().position(|byte| *byte == b':');
        let (name, value) = match colon {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &b""[..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.data.push(b'\n');
                }
                self.data.extend_from_slice(value);
            }
            b"event" => {
                self.event.clear();
                self.event.extend_from_slice(value);
            }
            // A comment has the empty name; `id` and `retry` serve reconnection, which no provider offers.
            _ => {}
        }
    }

    /// What has come together, unless it has no data; the next event starts empty.
    pub(crate) fn dispatch(&mut self) -> Option<SseEvent> {
        let event = self.has_data.then(|| SseEvent {
            event: (!self.event.is_empty())
                .then(|| String::from_utf8_lossy(&self.event).into_owned()),
            data: self.take_data(),
            is_exception: false,
        });
        self.event.clear();
        self.data.clear();
        self.has_data = false;
        event
    }

    fn take_data(&mut self) -> Bytes {
        if std::str::from_utf8(&self.data).is_err() {
            return String::from_utf8_lossy(&self.data).into_owned().into();
        }
        if self.data.capacity() > BUFFER {
            std::mem::take(&mut self.data).into()
        } else {
            Bytes::copy_from_slice(&self.data)
        }
    }
}
