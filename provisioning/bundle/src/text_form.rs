//! Types that travel as text in documents.

/// Lets a type with `FromStr` and `Display` stand in a serde document as that text:
/// `#[serde(try_from = "String", into = "String")]` asks for these two conversions.
macro_rules! text_form {
    ($type:ty) => {
        impl TryFrom<String> for $type {
            type Error = crate::Error;

            fn try_from(text: String) -> Result<Self, crate::Error> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> Self {
                value.to_string()
            }
        }
    };
}

pub(crate) use text_form;
