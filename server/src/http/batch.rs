//! Requests of many items, each on its own: what is wrong with one is that one's answer.

use super::error::ApiError;
use crate::engine::service::ServiceError;

/// The items that can be asked for, with the places of those that cannot.
pub struct Batch<T> {
    /// To be asked for, in order.
    pub sound: Vec<T>,
    refused: Vec<Option<ApiError>>,
}

impl<T> Batch<T> {
    /// Of items that were looked at one by one.
    pub fn of(items: impl Iterator<Item = Result<T, ApiError>>) -> Self {
        let (mut sound, mut refused) = (Vec::new(), Vec::new());
        for item in items {
            refused.push(item.map(|item| sound.push(item)).err());
        }
        Self { sound, refused }
    }

    /// One answer an item, in order: that of the command to it, or why it was not asked.
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
    fn every_item_has_its_own_answer() {
        let refused = |name: &'static str| Err(ApiError::field(name, "wrong"));
        let batch = Batch::of([refused("a"), Ok(1), refused("b"), Ok(2), Ok(3)].into_iter());
        assert_eq!(batch.sound, [1, 2, 3]);
        let answers = vec![Ok("one"), Err(ServiceError::NotFound)];
        let told = |answer: Result<&str, ApiError>| match answer {
            Ok(text) => text.to_owned(),
            Err(error) => error.of_item("at").code,
        };
        let answers: Vec<_> = batch.answers(answers).map(told).collect();
        assert_eq!(answers, ["invalid_field", "one", "invalid_field", "not_found", "internal"]);
    }
}
