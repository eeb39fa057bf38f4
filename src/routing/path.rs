//! One normal form of a path, judged and forwarded.

/// A path in normal form, with what was noticed on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NormalPath {
    /// Judged and forwarded.
    pub text: Box<str>,
    pub has_parameters: bool,
    pub has_encoded_slash: bool,
}

/// Why a path has no normal form: answered 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathError {
    Backslash,
    BadEscape,
    Control,
    DotSegmentWithParameters,
    InvalidUtf8,
}

/// Brings a path (without query) into its normal form.
pub fn normalise(path: &str) -> Result<NormalPath, PathError> {
    let _ = path;
    todo!()
}
