//! The shape of a problem, for the OpenAPI document.
#![allow(dead_code, reason = "describes what `Problem::render` writes")]

use utoipa::openapi::schema::{Object, ObjectBuilder, Type};
use utoipa::{PartialSchema, ToSchema};

use super::{Code, FieldCode};

/// A problem (RFC 9457).
#[derive(ToSchema)]
#[schema(as = Problem)]
pub struct Schema {
    /// Leads to a page about the code.
    #[schema(pattern = "^https?://")]
    r#type: String,
    /// What the code means.
    title: String,
    /// The HTTP status.
    status: u16,
    /// What went wrong this time.
    detail: String,
    code: CodeSchema,
    /// Under which it is in the log.
    request_id: String,
    /// Every field that is not valid, for `validation`.
    errors: Option<Vec<FieldSchema>>,
}

/// A field that is not valid.
#[derive(ToSchema)]
#[schema(as = FieldError)]
struct FieldSchema {
    /// JSON Pointer into the body, or `?name` for a query parameter.
    pointer: String,
    code: FieldCodeSchema,
    /// Why, for people.
    detail: String,
}

/// A closed set: none is ever renamed or removed.
struct CodeSchema;

impl ToSchema for CodeSchema {
    fn name() -> std::borrow::Cow<'static, str> {
        "ProblemCode".into()
    }
}

impl PartialSchema for CodeSchema {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        words(Code::ALL.iter().map(|code| code.slug())).into()
    }
}

/// A closed set: none is ever renamed or removed.
struct FieldCodeSchema;

impl ToSchema for FieldCodeSchema {
    fn name() -> std::borrow::Cow<'static, str> {
        "FieldErrorCode".into()
    }
}

impl PartialSchema for FieldCodeSchema {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        words(FieldCode::ALL.iter().map(|code| code.slug())).into()
    }
}

fn words(words: impl Iterator<Item = &'static str>) -> Object {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words)).build()
}
