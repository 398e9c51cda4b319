//! A body that is read to decide which API handles it, and then passed on unchanged.

use axum::body::{Body, Bytes};
use futures_util::{StreamExt, stream};

/// The unread part of a body.
pub type Rest = Option<Body>;

/// Reads a body up to `limit` bytes. There is a rest if the body is longer or fails.
pub async fn read(body: Body, limit: usize) -> (Bytes, Rest) {
    let mut parts = body.into_data_stream();
    let mut start = Vec::new();
    while let Some(part) = parts.next().await {
        match part {
            Ok(part) => start.extend_from_slice(&part),
            Err(error) => {
                let broken = stream::iter([Err::<Bytes, _>(error)]);
                return (start.into(), Some(Body::from_stream(broken)));
            }
        }
        if start.len() > limit {
            return (start.into(), Some(Body::from_stream(parts)));
        }
    }
    (start.into(), None)
}

/// Restores the complete body.
pub fn restore(start: Bytes, rest: Rest) -> Body {
    let Some(rest) = rest else { return start.into() };
    let start = stream::iter([Ok::<_, axum::Error>(start)]);
    Body::from_stream(start.chain(rest.into_data_stream()))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn bytes(body: Body) -> Bytes {
        axum::body::to_bytes(body, usize::MAX).await.unwrap()
    }

    fn in_parts(parts: &'static [&'static str]) -> Body {
        Body::from_stream(stream::iter(parts.iter().map(|part| Ok::<_, std::io::Error>(*part))))
    }

    #[tokio::test]
    async fn a_restored_body_equals_the_original() {
        for limit in [0, 3, 4, 5, 100] {
            let (start, rest) = read(in_parts(&["ab", "cd", "ef"]), limit).await;
            assert_eq!(rest.is_none(), limit >= 6, "limit {limit}");
            assert_eq!(bytes(restore(start, rest)).await, "abcdef", "limit {limit}");
        }
    }

    #[tokio::test]
    async fn a_restored_body_fails_like_the_original() {
        let parts = stream::iter([Ok("ab"), Err(std::io::Error::other("gone"))]);
        let (start, rest) = read(Body::from_stream(parts), 100).await;
        assert_eq!(start, "ab");
        assert!(axum::body::to_bytes(restore(start, rest), 100).await.is_err());
    }
}
