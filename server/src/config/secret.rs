//! Secret values, which are never printed.

use serde::{Deserialize, Serialize, Serializer};

const REDACTED: &str = "[redacted]";

/// A password or key. `Display`, `Debug` and `Serialize` write a placeholder.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// Returns the secret.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether the secret is not set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn shown(&self) -> &str {
        if self.is_empty() { "" } else { REDACTED }
    }
}

/// A MongoDB connection string. `Display`, `Debug` and `Serialize` hide its password only.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct MongoUri(String);

impl MongoUri {
    /// Wraps a connection string.
    pub fn new(uri: impl Into<String>) -> Self {
        Self(uri.into())
    }

    /// Returns the whole string, with its password.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Hides everything up to the last `@`, so that a password with an unescaped `@` is hidden as
    /// well.
    fn shown(&self) -> String {
        let Some((scheme, rest)) = self.0.split_once("://") else { return REDACTED.to_owned() };
        let Some((login, hosts)) = rest.rsplit_once('@') else { return self.0.clone() };
        let user = login.split(':').next().unwrap_or_default();
        format!("{scheme}://{user}:{REDACTED}@{hosts}")
    }
}

macro_rules! print_as_shown {
    ($kind:ty) => {
        impl std::fmt::Debug for $kind {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{:?}", self.shown())
            }
        }

        impl std::fmt::Display for $kind {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.shown().as_ref())
            }
        }

        impl Serialize for $kind {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.shown().as_ref())
            }
        }
    };
}

print_as_shown!(Secret);
print_as_shown!(MongoUri);

#[cfg(test)]
mod tests {
    use super::*;

    const CANARY: &str = "canary-7f3a";

    fn every_print<T: std::fmt::Debug + std::fmt::Display + Serialize>(value: &T) -> String {
        format!("{value} {value:?} {}", serde_json::to_string(value).unwrap())
    }

    #[test]
    fn a_secret_is_never_printed() {
        let printed = every_print(&Secret::new(CANARY));
        assert!(!printed.contains(CANARY) && printed.contains(REDACTED), "{printed}");
        assert_eq!(Secret::default().to_string(), "", "an empty secret prints as empty");
    }

    #[test]
    fn a_uri_is_printed_without_its_password() {
        for uri in [
            "mongodb://app:canary-7f3a@db1,db2/?replicaSet=rs0",
            "mongodb://app:canary-7f3a@with@sign@db1,db2/?replicaSet=rs0",
            "mongodb://app:canary-7f3a/with-slash@db1,db2/?replicaSet=rs0",
            "canary-7f3a",
        ] {
            let printed = every_print(&MongoUri::new(uri));
            assert!(!printed.contains(CANARY) && printed.contains(REDACTED), "{printed}");
        }
        let plain = "mongodb://db1,db2/?replicaSet=rs0";
        assert_eq!(MongoUri::new(plain).to_string(), plain);
        let shown = MongoUri::new("mongodb://app:x@db1/?replicaSet=rs0").to_string();
        assert_eq!(shown, "mongodb://app:[redacted]@db1/?replicaSet=rs0");
    }
}
