//! Whose keys another server is being asked for.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ruma::{OwnedUserId, UserId};

/// The users whose keys are being asked for. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Questions {
    users: Arc<Mutex<HashSet<OwnedUserId>>>,
}

/// Users who are being asked for until this is dropped.
#[derive(Debug)]
pub(crate) struct Question {
    questions: Questions,
    users: Vec<OwnedUserId>,
}

impl Questions {
    /// Notes that these users are being asked for. Their server is asked by one at a time, so nobody else notes them.
    pub(crate) fn ask(&self, users: &[OwnedUserId]) -> Question {
        self.users().extend(users.iter().cloned());
        Question {
            questions: self.clone(),
            users: users.to_vec(),
        }
    }

    /// Whether an answer may be under way that lacks what changed just now.
    pub(crate) fn are_open(&self, user: &UserId) -> bool {
        self.users().contains(user)
    }

    fn users(&self) -> MutexGuard<'_, HashSet<OwnedUserId>> {
        // Each change is whole by itself, so a panic elsewhere left nothing half done.
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        let mut asked = self.questions.users();
        for user in &self.users {
            asked.remove(user);
        }
    }
}
