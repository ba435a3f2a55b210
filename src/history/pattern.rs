//! What `find` looks for: shell patterns on names, or on whole paths if they have a slash.

/// Patterns of which one has to match.
#[derive(Debug, Clone)]
pub struct Patterns {
    list: Vec<Pattern>,
    ignores_case: bool,
}

#[derive(Debug, Clone)]
struct Pattern {
    glob: Vec<u8>,
    is_path: bool,
}

impl Patterns {
    /// `*` and `?` stand for what is no slash, `**` for anything, `[a-z]` and `[!a-z]` for one character, `\` takes the
    /// meaning from the next one. A path that does not begin with a slash may end any path.
    pub fn new(patterns: &[Vec<u8>], ignores_case: bool) -> Patterns {
        let list = patterns.iter().map(|text| {
            let text = if ignores_case { lower(text) } else { text.clone() };
            let is_path = text.contains(&b'/');
            let is_anchored = !is_path || text.starts_with(b"/");
            let glob = if is_anchored { text } else { [b"**/", &text[..]].concat() };
            Pattern { glob, is_path }
        });
        Patterns { list: list.collect(), ignores_case }
    }

    /// True if a name in a folder is looked for.
    pub fn matches(&self, parent: &[u8], name: &[u8]) -> bool {
        let folded = self.ignores_case.then(|| (lower(parent), lower(name)));
        let (parent, name) = folded.as_ref().map_or((parent, name), |(parent, name)| (&parent[..], &name[..]));
        self.list.iter().any(|pattern| match pattern.is_path {
            false => is_match(&pattern.glob, name),
            true => {
                let slash: &[u8] = if parent.is_empty() { b"" } else { b"/" };
                is_match(&pattern.glob, &[b"/", parent, slash, name].concat())
            }
        })
    }
}

fn lower(text: &[u8]) -> Vec<u8> {
    match std::str::from_utf8(text) {
        Ok(text) => text.to_lowercase().into_bytes(),
        Err(_) => text.to_ascii_lowercase(),
    }
}

/// An offset in the pattern, and one in the text.
type Place = (usize, usize);

/// Time: length of the pattern times length of the text at most, for each `**`.
fn is_match(glob: &[u8], text: &[u8]) -> bool {
    let (mut g, mut t) = (0, 0);
    // Where to go on if what follows a star does not match: behind the star, one byte further in the text.
    let (mut star, mut deep): (Option<Place>, Option<Place>) = (None, None);
    loop {
        if glob[g..].starts_with(b"**") {
            g += 2;
            (deep, star) = (Some((g, t)), None);
            continue;
        }
        if glob.get(g) == Some(&b'*') {
            g += 1;
            star = Some((g, t));
            continue;
        }
        if g == glob.len() && t == text.len() {
            return true;
        }
        if let Some((in_glob, in_text)) = one(&glob[g..], &text[t..]) {
            (g, t) = (g + in_glob, t + in_text);
            continue;
        }
        let again = match (star, deep) {
            (Some((g, t)), _) if text.get(t).is_some_and(|&byte| byte != b'/') => {
                star = Some((g, t + 1));
                star
            }
            (_, Some((g, t))) if t < text.len() => {
                (deep, star) = (Some((g, t + 1)), None);
                deep
            }
            _ => None,
        };
        let Some(place) = again else { return false };
        (g, t) = place;
    }
}

/// Matches one character; returns the bytes it takes in the pattern and in the text.
fn one(glob: &[u8], text: &[u8]) -> Option<(usize, usize)> {
    let (&first, &byte) = (glob.first()?, text.first()?);
    match first {
        b'?' if byte != b'/' => Some((1, 1 + text[1..].iter().take_while(|&&b| b & 0xc0 == 0x80).count())),
        b'?' => None,
        b'\\' if glob.len() > 1 => (glob[1] == byte).then_some((2, 1)),
        b'[' => match class(glob, byte) {
            Some((len, fits)) => (fits && byte != b'/').then_some((len, 1)),
            None => (byte == b'[').then_some((1, 1)),
        },
        _ => (first == byte).then_some((1, 1)),
    }
}

/// Reads `[...]`: its length, and whether the byte is in it. `None` if it has no end.
fn class(glob: &[u8], byte: u8) -> Option<(usize, bool)> {
    let negated = matches!(glob.get(1), Some(b'!' | b'^'));
    let start = if negated { 2 } else { 1 };
    // A bracket that comes first stands for itself.
    let end = start + 1 + glob.get(start + 1..)?.iter().position(|&b| b == b']')?;
    let inside = &glob[start..end];
    let (mut at, mut fits) = (0, false);
    while at < inside.len() {
        if at + 2 < inside.len() && inside[at + 1] == b'-' {
            fits |= (inside[at]..=inside[at + 2]).contains(&byte);
            at += 3;
        } else {
            fits |= inside[at] == byte;
            at += 1;
        }
    }
    Some((end + 1, fits != negated))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(pattern: &str, path: &str, ignores_case: bool) -> bool {
        let (parent, name) = crate::path::split(path.as_bytes());
        Patterns::new(&[pattern.as_bytes().to_vec()], ignores_case).matches(parent, name)
    }

    #[test]
    fn names_and_paths() {
        for (pattern, path) in [
            ("cv.odt", "home/ada/cv.odt"),
            ("*.odt", "home/ada/cv.odt"),
            ("c?.*", "home/ada/cv.odt"),
            ("c?.odt", "home/ada/c\u{e9}.odt"),
            ("[a-c]v.[!x]dt", "cv.odt"),
            ("[]x]", "]"),
            ("a[", "a["),
            ("\\*", "*"),
            ("*a*b*c*", "xaxbxcx"),
            ("/home/*/cv.odt", "home/ada/cv.odt"),
            ("/home/**/cv.odt", "home/ada/x/y/cv.odt"),
            ("ada/*.odt", "home/ada/cv.odt"),
            ("home/ada", "home/ada"),
            ("/**", "anything/at/all"),
            ("**", "anything"),
            ("/a/**/z*/q", "a/b/z/c/zz/q"),
        ] {
            assert!(found(pattern, path, false), "{pattern} {path}");
        }
        for (pattern, path) in [
            ("cv", "home/ada/cv.odt"),
            ("ada", "home/ada/cv.odt"),
            ("CV.odt", "cv.odt"),
            ("/home/*.odt", "home/ada/cv.odt"),
            ("da/cv.odt", "home/ada/cv.odt"),
            ("?", "ab"),
            ("[!a]", "a"),
            ("", "a"),
        ] {
            assert!(!found(pattern, path, false), "{pattern} {path}");
        }
        assert!(found("\u{c4}RGER*", "x/\u{e4}rger.txt", true));
        assert!(found("HOME/ada", "home/Ada", true));
    }
}
