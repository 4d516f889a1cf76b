//! Talking to the people at the machine.

use anyhow::Result;

/// Whether what is typed is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Echo {
    /// It is.
    On,
    /// It is not: it is a secret.
    Off,
}

/// Whoever is at a console of the machine.
pub trait People {
    /// Tells them something.
    fn tell(&mut self, text: &str);

    /// Asks them something, and gives up after a while.
    fn ask(&mut self, question: &str, echo: Echo) -> Result<Option<String>>;

    /// Asks them something until somebody answers.
    fn ask_until_answered(&mut self, question: &str, echo: Echo) -> Result<String> {
        loop {
            if let Some(answer) = self.ask(question, echo)? {
                return Ok(answer);
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// Somebody who types what was prepared, and remembers what was told.
    #[derive(Debug, Default)]
    pub(crate) struct Prepared {
        answers: VecDeque<String>,
        pub(crate) told: Vec<String>,
    }

    impl Prepared {
        pub(crate) fn typing(answers: &[&str]) -> Self {
            Self {
                answers: answers.iter().map(|it| (*it).to_owned()).collect(),
                told: Vec::new(),
            }
        }
    }

    impl People for Prepared {
        fn tell(&mut self, text: &str) {
            self.told.push(text.to_owned());
        }

        fn ask(&mut self, question: &str, _: Echo) -> Result<Option<String>> {
            let answer = self.answers.pop_front();
            match answer {
                Some(answer) => Ok(Some(answer)),
                None => anyhow::bail!("nobody answers {question:?}"),
            }
        }
    }
}
