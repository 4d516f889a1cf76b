use serde::Deserialize;
use url::Url;

/// Whom users can ask for help: what `/.well-known/matrix/support` says. Without this section it says nothing.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Support {
    /// The e-mail address of those who run the box.
    #[serde(default)]
    pub email: Option<String>,
    /// Their Matrix id.
    #[serde(default)]
    pub matrix_id: Option<String>,
    /// The e-mail address for reports of weaknesses.
    #[serde(default)]
    pub security_email: Option<String>,
    /// A page with more.
    #[serde(default)]
    pub page: Option<Url>,
}

impl Support {
    pub(super) fn check(&self) -> Result<(), String> {
        if self.email.is_none()
            && self.matrix_id.is_none()
            && self.security_email.is_none()
            && self.page.is_none()
        {
            return Err("[support] must name somebody or something".to_owned());
        }
        let is_user = |id: &String| ruma::UserId::parse(id.as_str()).is_ok();
        if !self.matrix_id.iter().all(is_user) {
            return Err("support.matrix_id must be a user id".to_owned());
        }
        Ok(())
    }
}
