use luxchat_accounts::Error as AccountsError;
use luxchat_http::ApiError;

use super::Error;

impl From<AccountsError> for Error {
    fn from(error: AccountsError) -> Self {
        match error {
            AccountsError::Store(error) => return error.into(),
            AccountsError::NoSuchAccount
            | AccountsError::Deactivated
            | AccountsError::NotFound(_) => ApiError::not_found(error.to_string()),
            other => ApiError::internal(other),
        }
        .into()
    }
}
