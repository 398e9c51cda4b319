//! Signatures of requests (ACL 1.0 and 2.0: `AclClientRPCHook.java`, `AclUtils.java`).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

use crate::{Command, Credentials};

/// Adds the access key and the signature to a request: HMAC-SHA1 over the values of all fields, in
/// the order of their names, and the body.
pub(crate) fn sign(request: &mut Command, credentials: &Credentials) {
    request.fields.push("AccessKey", credentials.access_key.clone());
    if let Some(token) = &credentials.security_token {
        request.fields.push("SecurityToken", token.clone());
    }
    let mut fields: Vec<(&str, &str)> = request.fields.iter().collect();
    fields.sort_unstable();
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, credentials.secret_key.as_bytes());
    let mut signature = hmac::Context::with_key(&key);
    for (_, value) in fields {
        signature.update(value.as_bytes());
    }
    signature.update(&request.body);
    let signature = STANDARD.encode(signature.sign());
    request.fields.push("Signature", signature);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_signed_in_the_order_of_their_names() {
        let mut request = Command::request(310).field("b", "topic").field("a", "group").with_body("body");
        sign(&mut request, &Credentials::new("key", "secret"));
        // printf 'keygrouptopicbody' | openssl dgst -sha1 -hmac secret -binary | base64
        assert_eq!(request.fields.get("Signature"), Some("nN2DmHYxOAU2pjsyrPsv7w4AUBg="));
        assert_eq!(request.fields.get("AccessKey"), Some("key"));
    }
}
