//! What a guest printed on stderr while it served a request, for a page that says why that failed (`--dev`): most languages
//! have said there what the trap that follows does not.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How much is kept of it, in bytes.
const MOST: usize = 16 << 10;

/// Shared by a store and the stream that its guest prints to.
#[derive(Clone, Debug, Default)]
pub(crate) struct LastWords(Arc<Mutex<Vec<u8>>>);

impl LastWords {
    pub(crate) fn hear(&self, printed: &[u8]) {
        let mut heard = self.lock();
        heard.extend_from_slice(&printed[printed.len().saturating_sub(MOST)..]);
        let surplus = heard.len().saturating_sub(MOST);
        heard.drain(..surplus);
    }

    /// Another request begins.
    pub(crate) fn forget(&self) {
        self.lock().clear();
    }

    /// As text; none where there is none.
    pub(crate) fn text(&self) -> Option<String> {
        let heard = self.lock();
        (!heard.is_empty()).then(|| String::from_utf8_lossy(&heard).into_owned())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_it_is_kept() {
        let words = LastWords::default();
        assert_eq!(words.text(), None);
        words.hear(&vec![b'a'; MOST - 1]);
        words.hear(b"bc");
        let text = words.text().expect("something");
        assert!(text.len() == MOST && text.starts_with("aa") && text.ends_with("abc"));
        words.hear(&vec![b'd'; 2 * MOST]);
        assert_eq!(words.text(), Some("d".repeat(MOST)));
        words.forget();
        assert_eq!(words.text(), None);
    }
}
