//! Requests with a list of items, each of which succeeds or fails on its own.

use super::error::ApiError;
use crate::engine::service::ServiceError;

/// Items of a request: the valid ones, and the errors of the invalid ones.
pub struct Batch<T> {
    /// Valid items, in order.
    pub valid: Vec<T>,
    refused: Vec<Option<ApiError>>,
}

impl<T> Batch<T> {
    /// Collects items that have been validated one by one.
    pub fn of(items: impl Iterator<Item = Result<T, ApiError>>) -> Self {
        let (mut valid, mut refused) = (Vec::new(), Vec::new());
        for item in items {
            refused.push(item.map(|item| valid.push(item)).err());
        }
        Self { valid, refused }
    }

    /// Returns one answer for each item, in order: the answer of the command to a valid item, or
    /// the error of an invalid one.
    pub fn answers<A>(
        self,
        answers: Vec<Result<A, ServiceError>>,
    ) -> impl Iterator<Item = Result<A, ApiError>> {
        let mut answers = answers.into_iter();
        let missing = || ApiError::Internal("an item has no answer".to_owned());
        self.refused.into_iter().map(move |refused| {
            refused.map_or(Ok(()), Err)?;
            Ok(answers.next().ok_or_else(missing)??)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_item_has_its_own_answer() {
        let refused = |name: &'static str| Err(ApiError::field(name, "wrong"));
        let batch = Batch::of([refused("a"), Ok(1), refused("b"), Ok(2), Ok(3)].into_iter());
        assert_eq!(batch.valid, [1, 2, 3]);
        let answers = vec![Ok("one"), Err(ServiceError::NotFound)];
        let text = |answer: Result<&str, ApiError>| match answer {
            Ok(text) => text.to_owned(),
            Err(error) => error.of_item("at").code,
        };
        let answers: Vec<_> = batch.answers(answers).map(text).collect();
        assert_eq!(answers, ["invalid_field", "one", "invalid_field", "not_found", "internal"]);
    }
}
