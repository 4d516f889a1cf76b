//! What a page says of itself.

use std::cell::RefCell;

use html5ever::{
    tendril::StrTendril,
    tokenizer::{
        BufferQueue, Tag, TagKind, Token, TokenSink, TokenSinkResult, Tokenizer,
        states::{RawKind, RawKind::Rawtext, RawKind::Rcdata, RawKind::ScriptData},
    },
};
use serde_json::{Map, Value};

/// Properties kept of one page, and bytes of one value.
const MAX_PROPERTIES: usize = 50;
const MAX_VALUE: usize = 2_000;

/// The Open Graph properties of a page, each once, as it comes first. Where it has none that say its title and what it is
/// about, what it says elsewhere. Nothing is built of the page but this: its text passes by.
pub(crate) fn properties(html: &str) -> Map<String, Value> {
    let input = BufferQueue::default();
    input.push_back(StrTendril::from(html));
    let tokenizer = Tokenizer::new(Sink::default(), tokenizer_options());
    // Scripts are not run: where the tokenizer stops for one, it goes on.
    while !input.is_empty() {
        let _ = tokenizer.feed(&input);
    }
    tokenizer.end();
    tokenizer.sink.found.into_inner().into_properties()
}

fn tokenizer_options() -> html5ever::tokenizer::TokenizerOpts {
    html5ever::tokenizer::TokenizerOpts::default()
}

/// What has been found so far.
#[derive(Debug, Default)]
struct Found {
    og: Map<String, Value>,
    title: Option<String>,
    description: Option<String>,
    /// Whether the text that comes is the title.
    in_title: bool,
}

#[derive(Debug, Default)]
struct Sink {
    found: RefCell<Found>,
}

impl TokenSink for Sink {
    type Handle = ();

    fn process_token(&self, token: Token, _: u64) -> TokenSinkResult<()> {
        let mut found = self.found.borrow_mut();
        match token {
            Token::TagToken(tag) => match found.tag(&tag) {
                Some(raw) => TokenSinkResult::RawData(raw),
                None => TokenSinkResult::Continue,
            },
            Token::CharacterTokens(text) => {
                found.text(&text);
                TokenSinkResult::Continue
            }
            _ => TokenSinkResult::Continue,
        }
    }
}

impl Found {
    /// Takes note of a tag, and says how to read what follows it.
    fn tag(&mut self, tag: &Tag) -> Option<RawKind> {
        let is_start = tag.kind == TagKind::StartTag;
        match &*tag.name {
            "title" if is_start => {
                // Pictures within the page have titles, too: the first one is the page's.
                self.in_title = self.title.is_none();
                if self.in_title {
                    self.title = Some(String::new());
                }
                Some(Rcdata)
            }
            "title" => {
                self.in_title = false;
                None
            }
            "meta" if is_start => {
                self.meta(tag);
                None
            }
            "textarea" if is_start => Some(Rcdata),
            "script" if is_start => Some(ScriptData),
            "style" | "xmp" | "iframe" | "noembed" | "noframes" if is_start => Some(Rawtext),
            _ => None,
        }
    }

    fn text(&mut self, text: &str) {
        if self.in_title
            && let Some(title) = &mut self.title
            && title.len() < MAX_VALUE
        {
            title.push_str(shortened(text));
        }
    }

    fn meta(&mut self, tag: &Tag) {
        let attribute = |name: &str| {
            let found = tag.attrs.iter().find(|attr| &*attr.name.local == name);
            found.map(|attr| &*attr.value)
        };
        let Some(content) = attribute("content") else {
            return;
        };
        // Some write `name` where `property` is meant.
        let named = [attribute("property"), attribute("name")];
        for name in named.into_iter().flatten() {
            let name = name.trim().to_ascii_lowercase();
            if name == "description" && self.description.is_none() {
                self.description = Some(tidy(content));
            }
            let is_og = name.starts_with("og:") && name.len() <= 100;
            if is_og && self.og.len() < MAX_PROPERTIES && !self.og.contains_key(&name) {
                self.og.insert(name, tidy(content).into());
            }
        }
    }

    fn into_properties(self) -> Map<String, Value> {
        let mut properties = self.og;
        for (name, text) in [
            ("og:title", self.title.as_deref().map(tidy)),
            ("og:description", self.description),
        ] {
            if let Some(text) = text.filter(|text| !text.is_empty()) {
                properties.entry(name).or_insert_with(|| text.into());
            }
        }
        properties
    }
}

/// A text on one line, and not too long.
fn tidy(text: &str) -> String {
    let words: Vec<&str> = shortened(text).split_whitespace().collect();
    words.join(" ")
}

fn shortened(text: &str) -> &str {
    let end = (0..=MAX_VALUE.min(text.len()))
        .rev()
        .find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(html: &str) -> Value {
        Value::Object(properties(html))
    }

    #[test]
    fn what_the_page_says_for_others_comes_first() {
        let found = of("<!DOCTYPE html><html><head><title>The Rock (1996)</title>
             <meta name=description content='Of a prison'>
             <META Property='og:title' CONTENT='The  Rock &amp; more'>
             <meta property=og:type content=video.movie>
             <meta property=og:image content=first.png><meta property=og:image content=second.png>
             <meta property=fb:app_id content=7><meta name='og:site_name' content=Films></head>");
        assert_eq!(
            found,
            json!({
                "og:title": "The Rock & more", "og:type": "video.movie", "og:image": "first.png",
                "og:site_name": "Films", "og:description": "Of a prison",
            })
        );
    }

    #[test]
    fn a_plain_page_has_a_title() {
        let found = of("<title>\n A &lt;b&gt;\n page </title><body><svg><title>Icon</title></svg>");
        assert_eq!(found, json!({ "og:title": "A <b> page" }));
        assert_eq!(of("no page at all"), json!({}));
        assert_eq!(of("<title></title>"), json!({}));
    }

    #[test]
    fn what_a_script_or_a_comment_says_does_not_count() {
        let meta = "<meta property=og:title content=evil>";
        for html in [
            format!("<script>'{meta}'</script>"),
            format!("<!-- {meta} -->"),
            format!("<style>{meta}</style>"),
            format!("<title>{meta}"),
            format!("<textarea>{meta}</textarea>"),
            format!("<script>{meta}"),
        ] {
            assert_ne!(of(&html)["og:title"], "evil", "{html}");
        }
        let after = format!("<script>1 < 2</script>{meta}");
        assert_eq!(of(&after)["og:title"], "evil");
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let value = "é".repeat(5_000);
        let many: Vec<_> = (0..1_000)
            .map(|n| format!("<meta property='og:{n}' content='{value}'>"))
            .collect();
        let many = many.concat();
        let found = properties(&many);
        assert_eq!(found.len(), MAX_PROPERTIES);
        assert!(
            found
                .values()
                .all(|value| value.as_str().unwrap().len() <= MAX_VALUE)
        );
        let deep = "<div>".repeat(200_000) + "<title>deep</title>";
        assert_eq!(of(&deep), json!({ "og:title": "deep" }));
        let long = format!("<title>{}", "é<b>".repeat(100_000));
        assert!(properties(&long)["og:title"].as_str().unwrap().len() <= MAX_VALUE);
    }
}
