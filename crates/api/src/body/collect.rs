//! What reading a body and reading a query string share: complaints, and handing out all values or all errors.

use std::borrow::Cow;

use crate::problem::{FieldCode, FieldError, Problem};

/// Why a field's text is refused. Parse errors of the domain turn into it by `From`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// Why.
    pub code: FieldCode,
    /// Why, for people.
    pub detail: Cow<'static, str>,
}

impl Complaint {
    /// A complaint in words of its own.
    pub fn new(code: FieldCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { code, detail: detail.into() }
    }

    pub(crate) fn at(self, pointer: String) -> FieldError {
        FieldError { pointer, code: self.code, detail: self.detail }
    }
}

impl From<FieldCode> for Complaint {
    fn from(code: FieldCode) -> Self {
        Self::new(code, code.detail())
    }
}

/// Values that were read, each there unless an error says why not: an `Option`, or a tuple of them.
pub trait Complete {
    /// The values themselves.
    type Values;
    /// All the values, or `None` when one is missing.
    fn complete(self) -> Option<Self::Values>;
}

impl<T> Complete for Option<T> {
    type Values = T;
    fn complete(self) -> Option<T> {
        self
    }
}

/// Of a body that takes no fields.
impl Complete for () {
    type Values = ();
    fn complete(self) -> Option<()> {
        Some(())
    }
}

macro_rules! complete_tuples {
    ($(($($name:ident)+))+) => {$(
        impl<$($name),+> Complete for ($(Option<$name>,)+) {
            type Values = ($($name,)+);
            #[allow(non_snake_case, reason = "the type parameters name the variables")]
            fn complete(self) -> Option<Self::Values> {
                let ($($name,)+) = self;
                Some(($($name?,)+))
            }
        }
    )+};
}

complete_tuples! { (A B) (A B C) (A B C D) (A B C D E) (A B C D E F) (A B C D E F G) (A B C D E F G H) }

/// All values, or every error.
pub(crate) fn finish<C: Complete>(errors: Vec<FieldError>, values: C) -> Result<C::Values, Problem> {
    if !errors.is_empty() {
        return Err(Problem::validation(errors));
    }
    values.complete().ok_or_else(|| Problem::internal(anyhow::anyhow!("a field is missing without an error")))
}

/// Text that people typed on one line: not empty, not too long (in characters), no control characters.
pub(crate) fn check_line(text: &str, max: usize) -> Result<(), Complaint> {
    if text.is_empty() {
        return Err(FieldCode::Empty.into());
    }
    if text.chars().any(char::is_control) {
        return Err(Complaint::new(FieldCode::InvalidCharacter, "Control characters are not allowed here."));
    }
    if text.chars().count() > max {
        return Err(Complaint::new(FieldCode::TooLong, format!("This has {max} characters at most.")));
    }
    Ok(())
}
