//! The path and the parameters of a request.

pub struct Query {
    path: String,
    parameters: Vec<(String, String)>,
}

impl Query {
    /// Takes a request target such as `/stream?chunks=3&ms=10`.
    pub fn parse(target: &str) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let parameters = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                (decode(name), decode(value))
            })
            .collect();
        Self { path: path.to_owned(), parameters }
    }

    pub fn path(&self) -> &str {
        &self.path
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    pub fn has(&self, name: &str) -> bool {
        self.text(name).is_some()
    }

    /// A number that may be absent. A test that misspells one should hear of it, so anything else panics.
    pub fn maybe_number(&self, name: &str) -> Option<u64> {
        self.text(name)
            .map(|text| text.parse().unwrap_or_else(|_| panic!("`{name}` is not a number: {text}")))
    }

    pub fn number(&self, name: &str, default: u64) -> u64 {
        self.maybe_number(name).unwrap_or(default)
    }
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        let escaped = (byte == b'%').then(|| tail.get(..2)).flatten();
        match escaped.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()) {
            Some(value) => {
                bytes.push(value);
                rest = &tail[2..];
            }
            None => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The parts of a URL that an outgoing request takes one by one.
pub struct Url {
    pub scheme: String,
    pub authority: String,
    pub path: String,
}

impl Url {
    pub fn parse(text: &str) -> Self {
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let path = if path.is_empty() { "/" } else { path };
        Self { scheme: scheme.to_owned(), authority: authority.to_owned(), path: path.to_owned() }
    }
}
