//! Globs: `*` any run, `?` one character, `\` escapes; anchored at both ends. Matched as a set of states that
//! moves over the text once, so that no pattern and no text makes it slow.

use std::fmt;
use std::str::FromStr;

/// A pattern, compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    source: Box<str>,
    kind: Kind,
}

/// Why a text is no glob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GlobError {
    DanglingEscape,
    HoldsNul,
    TooLong,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Anything,
    Literal(Box<str>),
    Pattern(Box<States>),
}

/// State `i` has matched the first `i` tokens; one bit each, 64 a word.
#[derive(Clone, Debug, PartialEq, Eq)]
struct States {
    tokens: usize,
    /// States with a `*` in front of their next token: they stay whatever comes.
    stay: Vec<u64>,
    /// States whose next token is `?`.
    any: Vec<u64>,
    /// States by the character they wait for, sorted by character; `any` included.
    waiting: Vec<(char, Vec<u64>)>,
}

impl Glob {
    /// Tells whether the whole text matches. A text with NUL never does.
    pub fn matches(&self, text: &str) -> bool {
        // A NUL makes C programs behind us read a shorter name than the one that was judged.
        if text.contains('\0') {
            return false;
        }
        match &self.kind {
            Kind::Anything => true,
            Kind::Literal(literal) => **literal == *text,
            Kind::Pattern(states) => states.matches(text),
        }
    }

    /// Returns the pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.source
    }
}

impl FromStr for Glob {
    type Err = GlobError;

    fn from_str(text: &str) -> Result<Self, GlobError> {
        if text.len() > LONGEST {
            return Err(GlobError::TooLong);
        }
        let tokens = tokens(text)?;
        let literal = tokens.iter().map(|token| if let Token::Char(c) = token { Some(*c) } else { None }).collect::<Option<String>>();
        let kind = match (literal, tokens.as_slice()) {
            (Some(literal), _) => Kind::Literal(literal.into()),
            (None, [Token::Run]) => Kind::Anything,
            (None, tokens) => Kind::Pattern(Box::new(States::compile(tokens))),
        };
        Ok(Self { source: text.into(), kind })
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

impl fmt::Display for GlobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DanglingEscape => f.write_str("ends in `\\`, which escapes the character after it: write `\\\\` for a backslash"),
            Self::HoldsNul => f.write_str("holds a NUL, which nothing matches"),
            Self::TooLong => write!(f, "is longer than {LONGEST} bytes"),
        }
    }
}

impl std::error::Error for GlobError {}

impl States {
    fn compile(tokens: &[Token]) -> Self {
        let count = tokens.iter().filter(|token| !matches!(token, Token::Run)).count();
        let words = count / 64 + 1;
        let (mut stay, mut any) = (vec![0; words], vec![0; words]);
        let mut waiting: Vec<(char, Vec<u64>)> = Vec::new();
        let mut state = 0;
        for token in tokens {
            match token {
                Token::Run => {
                    set(&mut stay, state);
                    continue;
                }
                Token::One => set(&mut any, state),
                Token::Char(c) => {
                    let at = waiting.binary_search_by_key(c, |entry| entry.0).unwrap_or_else(|at| {
                        waiting.insert(at, (*c, vec![0; words]));
                        at
                    });
                    set(&mut waiting[at].1, state);
                }
            }
            state += 1;
        }
        for (_, states) in &mut waiting {
            states.iter_mut().zip(&any).for_each(|(word, any)| *word |= any);
        }
        Self { tokens: count, stay, any, waiting }
    }

    fn matches(&self, text: &str) -> bool {
        let mut states = vec![0u64; self.stay.len()];
        states[0] = 1;
        for c in text.chars() {
            let advancing = match self.waiting.binary_search_by_key(&c, |entry| entry.0) {
                Ok(at) => &self.waiting[at].1,
                Err(_) => &self.any,
            };
            let mut carry = 0;
            let mut alive = 0;
            for (word, state) in states.iter_mut().enumerate() {
                let moved = *state & advancing[word];
                *state = (moved << 1) | carry | (*state & self.stay[word]);
                carry = moved >> 63;
                alive |= *state;
            }
            if alive == 0 {
                return false;
            }
        }
        states[self.tokens / 64] >> (self.tokens % 64) & 1 == 1
    }
}

enum Token {
    Char(char),
    One,
    Run,
}

fn tokens(text: &str) -> Result<Vec<Token>, GlobError> {
    let mut tokens = Vec::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        tokens.push(match c {
            '*' if matches!(tokens.last(), Some(Token::Run)) => continue,
            '*' => Token::Run,
            '?' => Token::One,
            '\0' => return Err(GlobError::HoldsNul),
            '\\' => Token::Char(chars.next().ok_or(GlobError::DanglingEscape)?),
            c => Token::Char(c),
        });
    }
    Ok(tokens)
}

fn set(words: &mut [u64], bit: usize) {
    words[bit / 64] |= 1 << (bit % 64);
}

/// More than any name has; keeps the states of a pattern few.
const LONGEST: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        pattern.parse::<Glob>().expect("a glob").matches(text)
    }

    #[test]
    fn globs_are_anchored_and_know_runs_single_characters_and_escapes() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "anything / at.all", true),
            ("**", "x", true),
            ("?", "x", true),
            ("?", "ä", true),
            ("?", "", false),
            ("??", "x", false),
            ("pipeline-*", "pipeline-7", true),
            ("pipeline-*", "pipeline-", true),
            ("pipeline-*", "a-pipeline-7", false),
            ("*-7", "pipeline-7", true),
            ("*-7", "pipeline-77", false),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "acb", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*.example.com", "a.b.example.com", true),
            ("*.example.com", "example.com", false),
            ("\\*", "*", true),
            ("\\*", "x", false),
            ("a\\?b", "a?b", true),
            ("a\\?b", "axb", false),
            ("a\\\\b", "a\\b", true),
            ("\\a", "a", true),
            ("Case", "case", false),
            ("*", "nul\0", false),
            ("a*", "a\0b", false),
            ("*ab", "aab", true),
            ("*aab", "aaab", true),
            ("a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaac", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern:?} over {text:?}");
        }
    }

    #[test]
    fn a_long_pattern_crosses_words() {
        let long = "x".repeat(200);
        assert!(matches(&format!("*{long}?"), &format!("abc{long}y")));
        assert!(!matches(&format!("*{long}?"), &format!("abc{long}")));
        assert!(matches(&format!("{}*", "?".repeat(64)), &"y".repeat(64)));
        assert!(!matches(&format!("{}*", "?".repeat(64)), &"y".repeat(63)));
        assert!(matches(&format!("{}*", "?".repeat(63)), &"y".repeat(63)));
    }

    #[test]
    fn a_hostile_pattern_and_text_stay_cheap() {
        let pattern = "*a".repeat(1000) + "b";
        // 2^1000 ways for a matcher that goes back; one pass for ours.
        assert!(!matches(&pattern, &"a".repeat(20_000)));
    }

    #[test]
    fn what_is_no_glob_is_refused() {
        assert_eq!("a\\".parse::<Glob>(), Err(GlobError::DanglingEscape));
        assert_eq!("a\0".parse::<Glob>(), Err(GlobError::HoldsNul));
        assert_eq!("x".repeat(LONGEST + 1).parse::<Glob>(), Err(GlobError::TooLong));
    }
}
