//! Whether a test's own result is an error, which then comes before what was seen of it.
//!
//! The attribute writes `(&Output(&result)).is_err()` without knowing the type: the first of
//! the two traits that fits is taken.

/// The result of a test.
#[derive(Debug)]
pub struct Output<'a, T>(pub &'a T);

/// Of a test that returns a `Result`.
pub trait OfResult {
    /// The test has failed by itself.
    fn is_err(&self) -> bool;
}

impl<T, E> OfResult for Output<'_, Result<T, E>> {
    fn is_err(&self) -> bool {
        self.0.is_err()
    }
}

/// Of every other one.
pub trait OfAny {
    /// It has not failed.
    fn is_err(&self) -> bool;
}

impl<T> OfAny for &Output<'_, T> {
    fn is_err(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::needless_borrow, reason = "as the attribute asks, of any type")]
    #[allow(clippy::unnecessary_wraps, reason = "the type is what matters")]
    fn only_an_error_has_failed() {
        fn ok() -> Result<u8, String> {
            Ok(1)
        }
        assert!(!(&Output(&ok())).is_err());
        assert!((&Output(&Err::<u8, String>("no".into()))).is_err());
        assert!(!(&Output(&())).is_err());
        assert!(!(&Output(&7)).is_err());
    }
}
