//! Sorts what disks and servers say into [`ErrorKind`]: the one place that knows errno and HTTP status codes.
//!
//! The text of the layer below is kept, but shortened and in one piece: `object_store` repeats its causes in every
//! layer, and a server may answer with a page.

use crate::store::Error;
use crate::store::ErrorKind;
use crate::store::UnknownHost;
use crate::store::Untrusted;
use object_store::client::HttpError;
use object_store::client::HttpErrorKind;
use rustix::io::Errno;
use std::io;

/// A failure that does not know yet which request it belongs to.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: ErrorKind,
    said: Box<dyn std::error::Error + Send + Sync>,
}

impl Failure {
    pub(crate) fn new(kind: ErrorKind, said: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Failure {
        Failure { kind, said: said.into() }
    }

    /// The error people see.
    pub(crate) fn at(self, verb: &'static str, name: &str, location: &str) -> Error {
        Error { kind: self.kind, verb, name: name.to_owned(), location: location.to_owned(), source: Some(self.said) }
    }

    /// An answer that is not what was hoped for.
    pub(crate) fn of_status(status: u16, said: &str) -> Failure {
        let answer = answer_in(said).map_or_else(|| shortened(said), |(_, answer)| shortened(&answer));
        Failure::new(kind_of_status(status, said), format!("the server answered {status}: {answer}"))
    }

    /// True if the server said that it does not know the request (such as a conditional put), or the client that
    /// the server does not.
    pub(crate) fn is_not_implemented(&self) -> bool {
        let text = self.said.to_string();
        status_in(&text) == Some(501) || text.contains("not yet implemented by")
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        let kind = match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory => ErrorKind::NotFound,
            io::ErrorKind::AlreadyExists => ErrorKind::AlreadyExists,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ErrorKind::Denied,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Full,
            io::ErrorKind::UnexpectedEof => ErrorKind::Truncated,
            io::ErrorKind::TimedOut
            | io::ErrorKind::NotConnected
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::StaleNetworkFileHandle => ErrorKind::Unreachable,
            _ => match Errno::from_io_error(&error) {
                Some(Errno::IO | Errno::NXIO | Errno::NODEV | Errno::HOSTDOWN) => ErrorKind::Unreachable,
                _ => ErrorKind::Other,
            },
        };
        Failure::new(kind, error)
    }
}

impl From<HttpError> for Failure {
    fn from(error: HttpError) -> Failure {
        Failure::from(object_store::Error::Generic { store: "HTTP", source: error.into() })
    }
}

impl From<object_store::Error> for Failure {
    fn from(error: object_store::Error) -> Failure {
        if let Some(unknown) = layers(&error).find_map(|layer| layer.downcast_ref::<UnknownHost>()) {
            return Failure::new(ErrorKind::Unreachable, unknown.clone());
        }
        if let Some(untrusted) = layers(&error).find_map(|layer| layer.downcast_ref::<Untrusted>()) {
            return Failure::new(ErrorKind::Other, untrusted.clone());
        }
        let text = text_of(&error);
        let kind = match status_in(&text) {
            Some(status) => kind_of_status(status, &text),
            None => kind_of(&error, &text),
        };
        Failure::new(kind, text)
    }
}

fn kind_of_status(status: u16, text: &str) -> ErrorKind {
    match status {
        507 => ErrorKind::Full,
        400..=499 if text.contains("QuotaExceeded") => ErrorKind::Full,
        401 | 403 => ErrorKind::Denied,
        400 if ["ExpiredToken", "InvalidToken", "AuthenticationFailed"].iter().any(|code| text.contains(code)) => {
            ErrorKind::Denied
        }
        404 => ErrorKind::NotFound,
        409 | 412 | 304 => ErrorKind::AlreadyExists,
        416 => ErrorKind::Truncated,
        501 | 505 => ErrorKind::Other,
        408 | 429 | 500..=599 => ErrorKind::Unreachable,
        _ => ErrorKind::Other,
    }
}

/// The kind of a failure that came without an HTTP status.
fn kind_of(error: &object_store::Error, text: &str) -> ErrorKind {
    match error {
        object_store::Error::NotFound { .. } => ErrorKind::NotFound,
        object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. } => {
            ErrorKind::AlreadyExists
        }
        object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => ErrorKind::Denied,
        _ => {
            let http = layers(error).find_map(|layer| layer.downcast_ref::<HttpError>());
            match http.map(HttpError::kind) {
                // A request that cannot even be built will not be built later either.
                Some(HttpErrorKind::Unknown) if text.contains("builder error") => ErrorKind::Other,
                Some(_) => ErrorKind::Unreachable,
                // A 200 whose body says that it failed after all.
                None if text.contains("Server returned error response") => ErrorKind::Unreachable,
                None => ErrorKind::Other,
            }
        }
    }
}

/// `object_store` tells the status of an answer only in words.
fn status_in(text: &str) -> Option<u16> {
    let (_, rest) = text.split_once("Server returned non-2xx status code: ")?;
    rest.get(..3)?.parse().ok()
}

fn layers<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |layer| layer.source())
}

/// The first layer below `object_store`'s own wrapping (it includes most of what is below), then the root cause.
fn text_of(error: &object_store::Error) -> String {
    let top = layers(error).find(|layer| !layer.is::<object_store::Error>());
    let mut text = top.map_or_else(|| error.to_string(), ToString::to_string);
    if let Some(root) = layers(error).last().map(ToString::to_string).filter(|root| !text.contains(root)) {
        text = format!("{text}: {root}");
    }
    let text = match answer_in(&text) {
        Some((begin, answer)) => format!("{}{answer}", &text[..begin]),
        None => text,
    };
    shortened(&text)
}

/// One line of it, and not a long one.
fn shortened(text: &str) -> String {
    const TEXT_LEN_MAX: usize = 600;
    let mut text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.len() > TEXT_LEN_MAX {
        text = text.chars().take(TEXT_LEN_MAX).chain(" ...".chars()).collect();
    }
    text
}

/// Code and message out of the XML in which clouds explain themselves, and where it begins.
fn answer_in(text: &str) -> Option<(usize, String)> {
    let inner = |tag: &str| {
        let (_, rest) = text.split_once(&format!("<{tag}>"))?;
        Some(rest.split_once("</")?.0)
    };
    Some((text.find('<')?, format!("{}: {}", inner("Code")?, inner("Message")?)))
}

#[cfg(test)]
mod tests {
    use crate::store::ErrorKind;
    use crate::store::failure::Failure;
    use crate::store::failure::answer_in;
    use crate::store::failure::kind_of_status;
    use rustix::io::Errno;
    use std::io;

    #[test]
    fn errno_decides_what_to_do_next() {
        let cases = [
            (Errno::NOENT, ErrorKind::NotFound),
            (Errno::NOTDIR, ErrorKind::NotFound),
            (Errno::EXIST, ErrorKind::AlreadyExists),
            (Errno::ACCESS, ErrorKind::Denied),
            (Errno::PERM, ErrorKind::Denied),
            (Errno::ROFS, ErrorKind::Denied),
            (Errno::NOSPC, ErrorKind::Full),
            (Errno::DQUOT, ErrorKind::Full),
            (Errno::IO, ErrorKind::Unreachable),
            (Errno::NOTCONN, ErrorKind::Unreachable),
            (Errno::STALE, ErrorKind::Unreachable),
            (Errno::INVAL, ErrorKind::Other),
        ];
        for (errno, kind) in cases {
            assert_eq!(Failure::from(io::Error::from(errno)).kind, kind, "{errno:?}");
        }
    }

    #[test]
    fn servers_are_quoted_in_short() {
        let text = "403: <?xml version=\"1.0\"?><Error><Code>A</Code><Message>B c.</Message><Host>x</Host></Error>";
        let (begin, answer) = answer_in(text).unwrap_or_default();
        assert_eq!(format!("{}{answer}", &text[..begin]), "403: A: B c.");
        for text in ["", "403", "<Code>A</Code>", "<Code><Message>"] {
            assert_eq!(answer_in(text), None, "{text}");
        }
    }

    #[test]
    fn status_decides_what_to_do_next() {
        let cases = [
            (400, "<Code>ExpiredToken</Code>", ErrorKind::Denied),
            (400, "", ErrorKind::Other),
            (403, "AccessDenied", ErrorKind::Denied),
            (403, "QuotaExceeded", ErrorKind::Full),
            (404, "", ErrorKind::NotFound),
            (412, "", ErrorKind::AlreadyExists),
            (416, "", ErrorKind::Truncated),
            (429, "", ErrorKind::Unreachable),
            (501, "", ErrorKind::Other),
            (503, "SlowDown", ErrorKind::Unreachable),
            (507, "", ErrorKind::Full),
        ];
        for (status, text, kind) in cases {
            assert_eq!(kind_of_status(status, text), kind, "{status} {text}");
        }
    }
}
