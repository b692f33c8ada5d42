//! Words of enumerations: texts of which only some are allowed, kept as they are wherever they come from.
//!
//! What a datastore holds may be a word of another version, or one that nobody checked; it stays readable, and
//! validation refuses it where somebody writes it.

/// A text of which only some are allowed.
pub trait Word {
    /// Those that are.
    const WORDS: &'static [&'static str];

    /// The text.
    fn as_str(&self) -> &str;
}

/// Defines words: a type for each list.
macro_rules! words {
    ($($(#[$doc:meta])* $name:ident: $($word:literal),+;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl $crate::word::Word for $name {
            const WORDS: &'static [&'static str] = &[$($word),+];

            fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl schemars::JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({"type": "string", "enum": [$($word),+]})
            }
        }

        impl $name {
            /// Tells whether no word was given.
            pub fn is_empty(&self) -> bool {
                self.0.is_empty()
            }
        }

        impl From<&str> for $name {
            fn from(word: &str) -> Self {
                $name(word.to_owned())
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, word: &&str) -> bool {
                self.0 == *word
            }
        }
    )*};
}

pub(crate) use words;
