//! A resource of any kind: [`Resource`] is the closed set, [`Typed`] one of it, [`Kind`] its tag.
//!
//! A kind is one file, its [`Spec`], and one row of the table in [`crate::kind`]: the file says all there is to say of
//! the kind, and who works with kinds in general asks [`Kind`] and [`Resource`].

use crate::column::{self, Column, Scene, Shown};
use crate::crd::{Definition, Group};
use crate::invalid::{Invalid, Problem};
use crate::kind::*;
use crate::lenient::Lenient;
use crate::meta::{API_VERSION, ObjectMeta};
use crate::validate;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// What a kind is called, and by whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names {
    /// The plural, as in datastore keys.
    pub plural: &'static str,
    /// Whether objects of the kind live in a namespace.
    pub namespaced: bool,
    /// The lower-case words that `calicoctl` takes for the kind (control reference §5.4).
    pub words: &'static [&'static str],
}

/// Something that is done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// It is made.
    Create,
    /// It is replaced.
    Update,
    /// It is removed.
    Delete,
}

/// Why nobody may do something to an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is there, and nobody stores it.
    Exists,
    /// The kind does not allow it; the reason may be empty.
    NotSupported(String),
}

/// What makes a struct the `spec` of a kind: all that is particular to the kind.
pub trait Spec:
    Clone + PartialEq + std::fmt::Debug + Default + Serialize + DeserializeOwned + JsonSchema + 'static
{
    /// The kind it belongs to.
    const KIND: Kind;
    /// What it is called.
    const NAMES: Names;
    /// What its CustomResourceDefinition has besides the schema; none where Kubernetes' own objects stand for the kind.
    const DEFINITION: Option<Definition> = Some(Definition::PLAIN);
    /// The columns of `calicoctl`'s tables, in the order of the wide one.
    const COLUMNS: &'static [Column<Self>];
    /// The kind's `status`, kept as it is where Tortie does not look into it.
    type Status: Clone + PartialEq + std::fmt::Debug + Serialize + DeserializeOwned + JsonSchema;

    /// Fills in what Calico's client stores where the user wrote nothing.
    fn apply_defaults(_object: &mut Typed<Self>) {}

    /// Takes out what is stored where the user wrote nothing, and not shown.
    fn leave_out_defaults(_object: &mut Typed<Self>) {}

    /// Reports what the kind's own rules refuse; metadata is checked for every kind alike.
    fn check(_object: &Typed<Self>, _invalid: &mut Invalid) {}

    /// Names the fields that are set and stored, but change nothing in this version.
    fn idle_fields(_object: &Typed<Self>) -> Vec<String> {
        Vec::new()
    }

    /// Names the object itself, where nothing acts on it as a whole in this version.
    fn idle(_object: &Typed<Self>) -> Option<&'static str> {
        None
    }

    /// What lists are sorted by; those that are alike stay in the order of their keys.
    fn rank(_object: &Typed<Self>) -> f64 {
        0.0
    }

    /// Whether what an object may be depends on the others of its kind: two at a time might both be let through.
    fn checked_against_others() -> bool {
        false
    }

    /// The objects that everybody finds and nobody stores.
    fn built_in() -> Vec<Typed<Self>> {
        Vec::new()
    }

    /// Tells why nobody may do this to the object of this name.
    fn refuses(_operation: Operation, _name: &str) -> Option<Refusal> {
        None
    }

    /// The tier that the object is in, which must exist; none for what is in no tier.
    fn tier(_object: &Typed<Self>) -> Option<&str> {
        None
    }

    /// Turns the object, as users know it, into what an etcd datastore holds.
    fn to_stored(_object: &mut Typed<Self>) {}

    /// Turns what an etcd datastore holds into the object as users know it.
    fn from_stored(_object: &mut Typed<Self>) {}
}

/// A resource of one kind, in the order Go writes it: kind, apiVersion, metadata, spec, status.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", bound = "S: Spec")]
pub struct Typed<S: Spec> {
    /// The kind's name.
    pub kind: String,
    /// `projectcalico.org/v3`.
    pub api_version: String,
    /// Name, labels, revision.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// What the user asks for.
    #[serde(default)]
    pub spec: S,
    /// What is reported back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<S::Status>,
}

impl<S: Spec> Typed<S> {
    /// A new object of the kind.
    pub fn new(metadata: ObjectMeta, spec: S) -> Self {
        Typed { kind: S::KIND.name().to_owned(), api_version: API_VERSION.to_owned(), metadata, spec, status: None }
    }

    fn validate(&self) -> Result<(), Invalid> {
        let mut invalid = Invalid::default();
        validate::metadata(&self.metadata, &mut invalid);
        S::check(self, &mut invalid);
        invalid.into_result()
    }
}

macro_rules! kinds {
    ($($variant:ident: $spec:ty;)*) => {
        /// The kinds of resource.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind { $(#[doc = stringify!($variant)] $variant,)* }

        impl Kind {
            /// Every kind.
            pub const ALL: &'static [Kind] = &[$(Kind::$variant,)*];

            /// The name as in `kind:`.
            pub fn name(self) -> &'static str { match self { $(Kind::$variant => stringify!($variant),)* } }

            fn names(self) -> Names { match self { $(Kind::$variant => <$spec as Spec>::NAMES,)* } }

            /// The headings of the kind's columns, and where each is shown.
            pub fn headings(self) -> Vec<(&'static str, Shown)> {
                match self { $(Kind::$variant => column::headings::<$spec>(),)* }
            }

            /// The kind's CustomResourceDefinition; none where Kubernetes' own objects stand for the kind.
            pub fn definition(self, group: Group) -> Option<serde_json::Value> {
                match self { $(Kind::$variant => crate::crd::definition::<$spec>(group),)* }
            }

            /// The schema of the kind's `spec`.
            pub fn spec_schema(self) -> serde_json::Value {
                match self { $(Kind::$variant => crate::crd::of::<$spec>(),)* }
            }

            /// Whether what an object may be depends on the others of its kind.
            pub fn checked_against_others(self) -> bool {
                match self { $(Kind::$variant => <$spec as Spec>::checked_against_others(),)* }
            }

            /// The objects that everybody finds and nobody stores.
            pub fn built_in(self) -> Vec<Resource> {
                match self {
                    $(Kind::$variant => <$spec as Spec>::built_in().into_iter().map(Resource::from).collect(),)*
                }
            }

            /// Tells why nobody may do this to the object of this name.
            pub fn refuses(self, operation: Operation, name: &str) -> Option<Refusal> {
                match self { $(Kind::$variant => <$spec as Spec>::refuses(operation, name),)* }
            }
        }

        /// A resource of any kind.
        #[derive(Clone, Debug, PartialEq, Serialize)]
        #[serde(untagged)]
        pub enum Resource { $(#[doc = stringify!($variant)] $variant(Box<Typed<$spec>>),)* }

        impl Resource {
            /// The resource's kind.
            pub fn kind(&self) -> Kind { match self { $(Resource::$variant(_) => Kind::$variant,)* } }
            /// The resource's metadata.
            pub fn metadata(&self) -> &ObjectMeta { match self { $(Resource::$variant(object) => &object.metadata,)* } }
            /// The resource's metadata, to change.
            pub fn metadata_mut(&mut self) -> &mut ObjectMeta { match self { $(Resource::$variant(object) => &mut object.metadata,)* } }
            /// Fills in what Calico's client stores where the user wrote nothing.
            pub fn apply_defaults(&mut self) {
                match self { $(Resource::$variant(object) => Spec::apply_defaults(object.as_mut()),)* }
            }
            /// Takes out what is stored where the user wrote nothing, and not shown.
            pub fn leave_out_defaults(&mut self) {
                match self { $(Resource::$variant(object) => Spec::leave_out_defaults(object.as_mut()),)* }
            }
            /// Checks the object by its own rules and its kind's; what needs other objects is the client's.
            pub fn validate(&self) -> Result<(), Invalid> { match self { $(Resource::$variant(object) => object.validate(),)* } }
            /// The first thing for which Calico's decoder refuses the object, which ours takes: path, value and reason.
            pub fn undecodable(&self) -> Option<Problem> {
                let mut invalid = Invalid::default();
                match self { $(Resource::$variant(object) => Spec::check(object.as_ref(), &mut invalid),)* }
                invalid.first_undecodable().cloned()
            }
            fn idle_fields(&self) -> Vec<String> {
                match self { $(Resource::$variant(object) => Spec::idle_fields(object.as_ref()),)* }
            }
            fn idle(&self) -> Option<&'static str> {
                match self { $(Resource::$variant(object) => Spec::idle(object.as_ref()),)* }
            }
            /// What lists are sorted by; those that are alike stay in the order of their keys.
            pub fn rank(&self) -> f64 { match self { $(Resource::$variant(object) => Spec::rank(object.as_ref()),)* } }
            /// The tier that the object is in; none for what is in no tier.
            pub fn tier(&self) -> Option<&str> { match self { $(Resource::$variant(object) => Spec::tier(object.as_ref()),)* } }
            /// Turns the object, as users know it, into what an etcd datastore holds.
            pub fn to_stored(&mut self) { match self { $(Resource::$variant(object) => Spec::to_stored(object.as_mut()),)* } }
            /// Turns what an etcd datastore holds into the object as users know it.
            pub fn from_stored(&mut self) {
                match self { $(Resource::$variant(object) => Spec::from_stored(object.as_mut()),)* }
            }
            /// The cell of a column; none where the kind has no such column.
            pub fn cell(&self, heading: &str, scene: &Scene) -> Option<String> {
                match self { $(Resource::$variant(object) => column::cell(object.as_ref(), heading, scene),)* }
            }
            /// Decodes what a user wrote; an unknown field is an error, which names it.
            pub fn read(kind: Kind, value: serde_json::Value) -> Result<Resource, Unreadable> {
                Ok(match kind {
                    $(Kind::$variant => Resource::$variant(Box::new(read_strictly(value)?)),)*
                })
            }
            /// Decodes an object of a known kind as a datastore holds it; fields of newer versions are passed over.
            pub fn decode(kind: Kind, value: serde_json::Value) -> Result<Resource, serde_json::Error> {
                Ok(match kind { $(Kind::$variant => Resource::$variant(Box::new(serde_json::from_value(value)?)),)* })
            }
            /// As [`Resource::decode`], from bytes, which keeps the error's position.
            pub fn decode_slice(kind: Kind, bytes: &[u8]) -> Result<Resource, serde_json::Error> {
                Ok(match kind { $(Kind::$variant => Resource::$variant(Box::new(serde_json::from_slice(bytes)?)),)* })
            }
        }

        $(
            impl From<Typed<$spec>> for Resource {
                fn from(object: Typed<$spec>) -> Resource { Resource::$variant(Box::new(object)) }
            }
            impl TryFrom<Resource> for Typed<$spec> {
                type Error = Kind;
                #[allow(clippy::wildcard_enum_match_arm, reason = "one arm of a generated set; the rest is the error")]
                fn try_from(resource: Resource) -> Result<Self, Kind> {
                    match resource { Resource::$variant(object) => Ok(*object), other => Err(other.kind()) }
                }
            }
        )*
    };
}

crate::kind::table!(kinds);

impl Resource {
    /// Says which fields were accepted but change nothing yet, one sentence each.
    pub fn warnings(&self) -> Vec<String> {
        let object = format!("{} {}", self.kind().name(), self.metadata().name);
        let fields = self.idle_fields();
        let fields = fields.iter().map(|field| format!("{object}: {field} is accepted but not acted on yet"));
        let whole = self.idle().map(|what| format!("{object}: {what} is accepted but not acted on yet"));
        whole.into_iter().chain(fields).collect()
    }
}

/// Why a user's document is not an object of its kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// A field that the kind does not have, at least not there.
    #[error("field in document is not recognized or is in the wrong location: {field}")]
    UnknownField {
        /// The field's own name.
        field: String,
        /// Its path.
        path: String,
    },
    /// A value of the wrong type.
    #[error("{field}: {reason}")]
    Value {
        /// Path of the field, such as `spec.blockSize`.
        field: String,
        /// What is wrong with its value.
        reason: String,
    },
}

impl Unreadable {
    fn new(error: &serde_path_to_error::Error<serde_json::Error>) -> Self {
        Unreadable::Value { field: error.path().to_string(), reason: error.inner().to_string() }
    }
}

fn read_strictly<T: DeserializeOwned>(value: serde_json::Value) -> Result<T, Unreadable> {
    let mut unknown = None;
    let mut note = |path: serde_ignored::Path<'_>| {
        unknown.get_or_insert_with(|| path.to_string());
    };
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(Lenient(value), &mut track);
    match T::deserialize(serde_ignored::Deserializer::new(tracked, &mut note)) {
        Ok(object) => unknown.map_or(Ok(object), |path| {
            Err(Unreadable::UnknownField { field: path.rsplit('.').next().unwrap_or_default().to_owned(), path })
        }),
        Err(error) => Err(Unreadable::new(&serde_path_to_error::Error::new(track.path(), error))),
    }
}

impl Kind {
    /// The plural, as in datastore keys.
    pub fn plural(self) -> &'static str {
        self.names().plural
    }

    /// Whether objects of the kind live in a namespace.
    pub fn namespaced(self) -> bool {
        self.names().namespaced
    }

    /// The lower-case words that `calicoctl` takes for the kind.
    pub fn aliases(self) -> &'static [&'static str] {
        self.names().words
    }

    /// Finds a kind by its name as written in `kind:`.
    pub fn by_name(name: &str) -> Option<Kind> {
        Kind::ALL.iter().copied().find(|kind| kind.name() == name)
    }

    /// Finds a kind by any word `calicoctl` takes, in any case.
    pub fn by_alias(word: &str) -> Option<Kind> {
        let word = word.to_lowercase();
        Kind::ALL.iter().copied().find(|kind| kind.aliases().contains(&word.as_str()))
    }

    /// Finds a kind by its plural in a datastore key.
    pub fn by_plural(plural: &str) -> Option<Kind> {
        Kind::ALL.iter().copied().find(|kind| kind.plural() == plural)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(spec: Value) -> Result<Resource, Unreadable> {
        let metadata = json!({"name": "p"});
        let value = json!({"kind": "IPPool", "apiVersion": API_VERSION, "metadata": metadata, "spec": spec});
        Resource::read(Kind::IPPool, value)
    }

    #[test]
    fn what_a_user_wrote_is_read_strictly() {
        assert!(read(json!({"cidr": "10.0.0.0/16"})).is_ok());
        let error = read(json!({"cidr": "10.0.0.0/16", "natOutgoings": true})).expect_err("a misspelt field");
        assert_eq!(
            error,
            Unreadable::UnknownField { field: "natOutgoings".to_owned(), path: "spec.natOutgoings".to_owned() }
        );
        let Ok(Resource::IPPool(pool)) = read(json!({"CIDR": "10.0.0.0/16", "natoutgoing": true})) else {
            panic!("the letters may be of any case")
        };
        assert_eq!((pool.spec.cidr.as_str(), pool.spec.nat_outgoing), ("10.0.0.0/16", Some(true)));
        let Ok(Resource::IPPool(pool)) = read(json!({"nodeSelector": false, "cidr": 10, "allowedUses": null})) else {
            panic!("a number is a text where one is expected")
        };
        assert_eq!((pool.spec.node_selector.as_str(), pool.spec.cidr.as_str()), ("false", "10"));
        let error = read(json!({"blockSize": "big"})).expect_err("a text for a number");
        assert_eq!(error.to_string(), "spec.blockSize: invalid type: string \"big\", expected u8");
    }

    #[test]
    fn what_is_stored_is_read_leniently() {
        let stored = json!({"kind": "Tier", "apiVersion": API_VERSION, "spec": {"order": 1, "later": true}});
        assert!(Resource::decode(Kind::Tier, stored).is_ok());
    }

    #[test]
    fn kinds_by_every_word() {
        for (word, kind) in
            [("workloadEndpoint", Kind::WorkloadEndpoint), ("WEP", Kind::WorkloadEndpoint), ("no", Kind::Node)]
        {
            assert_eq!(Kind::by_alias(word), Some(kind), "{word}");
        }
        for kind in Kind::ALL {
            assert_eq!(Kind::by_alias(kind.name()), Some(*kind));
            assert_eq!(Kind::by_plural(kind.plural()), Some(*kind));
        }
        assert_eq!(Kind::by_alias("all"), None);
    }
}
