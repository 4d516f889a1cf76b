//! Text as words: the same for what is indexed and for what is looked for.

use std::collections::BTreeSet;

use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};

/// Letters of a word that count; what differs only after them is the same word.
const WORD_LENGTH: usize = 32;

/// The different words of a text in alphabetical order, the first `limit` that it has: in small letters, without accents.
/// Where a script puts no spaces between words, each sign is one.
pub fn search_words(text: &str, limit: usize) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    for word in word_sequence(text) {
        words.insert(word);
        if words.len() >= limit {
            break;
        }
    }
    words
}

/// Every word of a text, as often as it stands there.
pub fn word_sequence(text: &str) -> impl Iterator<Item = String> {
    let mut letters = text
        .nfkd()
        .filter(|letter| !is_combining_mark(*letter))
        .flat_map(char::to_lowercase)
        .peekable();
    std::iter::from_fn(move || {
        while letters
            .next_if(|letter| !letter.is_alphanumeric())
            .is_some()
        {}
        let first = letters.next()?;
        let mut word = String::from(first);
        if is_word_alone(first) {
            return Some(word);
        }
        let mut length = 1;
        while let Some(letter) =
            letters.next_if(|letter| letter.is_alphanumeric() && !is_word_alone(*letter))
        {
            if length < WORD_LENGTH {
                word.push(letter);
                length += 1;
            }
        }
        Some(word)
    })
}

/// Han, Hiragana and Katakana.
fn is_word_alone(letter: char) -> bool {
    matches!(letter,
        '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}'
        | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_accents_and_punctuation_do_not_count() {
        let words: Vec<_> = word_sequence("  L’Élève, élève: ELEVE-42! ").collect();
        assert_eq!(words, ["l", "eleve", "eleve", "eleve", "42"]);
        assert_eq!(search_words("Élève eleve", 9).len(), 1);
        assert_eq!(word_sequence("…!?").count(), 0);
    }

    #[test]
    fn signs_without_spaces_are_words_by_themselves() {
        let words: Vec<_> = word_sequence("内務省abc").collect();
        assert_eq!(words, ["内", "務", "省", "abc"]);
    }

    #[test]
    fn words_have_an_end() {
        let long = "x".repeat(1_000);
        let words: Vec<_> = word_sequence(&long).collect();
        assert_eq!(words, ["x".repeat(32)]);
        let many: Vec<_> = (0..100).map(|number| number.to_string()).collect();
        let many = many.join(" ");
        assert_eq!(search_words(&many, 10).len(), 10);
    }
}
