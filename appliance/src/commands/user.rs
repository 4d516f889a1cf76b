use std::{
    io::{IsTerminal, Read},
    path::PathBuf,
};

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use luxchat_admin_api::{
    CreateRegistrationToken, CreateUser, CreatedRegistrationToken, LockUser, SetPassword,
    UserSummary,
};
use reqwest::Method;

use crate::{operator::Operator, say};

/// A password longer than this is not one.
const MAX_PASSWORD: u64 = 4_096;

/// Make, list and lock the accounts of a running box.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The box's operator socket: `admin.sock` in its data_dir.
    #[arg(
        long,
        default_value = "/var/lib/luxchat/admin.sock",
        value_name = "PATH"
    )]
    socket: PathBuf,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make an account. The password is asked for, or read from standard input.
    Create {
        /// The part of the user id before the colon.
        localpart: String,
        /// Let the account use the operator's API.
        #[arg(long)]
        admin: bool,
    },
    /// Set another password and end all sessions. It is asked for, or read from standard input.
    SetPassword {
        /// `@agent:server`
        user_id: String,
    },
    /// Lock an account: its sessions are kept, and refused.
    Lock {
        /// `@agent:server`
        user_id: String,
    },
    /// Unlock an account.
    Unlock {
        /// `@agent:server`
        user_id: String,
    },
    /// List the accounts.
    List,
    /// Make a registration token, for a site whose file says `registration.tokens = true`.
    Token {
        /// How many accounts it may make; without: any number.
        #[arg(long)]
        uses: Option<u32>,
        /// For how many hours it is good; without: for ever.
        #[arg(long)]
        hours: Option<u32>,
    },
}

/// # Errors
///
/// What the box says, or that it does not answer.
pub fn run(arguments: Arguments) -> Result<()> {
    let password = match &arguments.action {
        Action::Create { .. } | Action::SetPassword { .. } => Some(read_password()?),
        _ => None,
    };
    super::block_on(act(
        Operator::new(arguments.socket)?,
        arguments.action,
        password.unwrap_or_default(),
    ))
}

async fn act(operator: Operator, action: Action, password: String) -> Result<()> {
    match action {
        Action::Create { localpart, admin } => {
            let body = CreateUser {
                localpart,
                password,
                admin,
            };
            let user: UserSummary = operator.call(Method::POST, "/users", Some(&body)).await?;
            say!("made {}", user.user_id);
        }
        Action::SetPassword { user_id } => {
            let path = format!("/users/{user_id}/password");
            let _: UserSummary = operator
                .call(Method::PUT, &path, Some(&SetPassword { password }))
                .await?;
            say!("{user_id} has a new password; all its sessions are over");
        }
        Action::Lock { user_id } => set_locked(&operator, &user_id, true).await?,
        Action::Unlock { user_id } => set_locked(&operator, &user_id, false).await?,
        Action::List => list(&operator).await?,
        Action::Token { uses, hours } => {
            let body = CreateRegistrationToken { uses, hours };
            let made: CreatedRegistrationToken = operator
                .call(Method::POST, "/registration-tokens", Some(&body))
                .await?;
            say!("{}", made.token);
        }
    }
    Ok(())
}

async fn set_locked(operator: &Operator, user_id: &str, locked: bool) -> Result<()> {
    let path = format!("/users/{user_id}/lock");
    let user: UserSummary = operator
        .call(Method::PUT, &path, Some(&LockUser { locked }))
        .await?;
    say!("{} is {}", user.user_id, user.state());
    Ok(())
}

async fn list(operator: &Operator) -> Result<()> {
    let mut after = String::new();
    loop {
        let page: Vec<UserSummary> = operator
            .call(Method::GET, &format!("/users?after={after}"), None::<&()>)
            .await?;
        let Some(last) = page.last() else {
            return Ok(());
        };
        after.clone_from(&last.user_id);
        for user in &page {
            say!(
                "{:40} {}{}",
                user.user_id,
                user.state(),
                if user.admin { ", operator" } else { "" }
            );
        }
    }
}

fn read_password() -> Result<String> {
    let password = if std::io::stdin().is_terminal() {
        let password = rpassword::prompt_password("Password: ")?;
        if rpassword::prompt_password("Again: ")? != password {
            bail!("the two passwords differ");
        }
        password
    } else {
        let mut text = String::new();
        std::io::stdin()
            .take(MAX_PASSWORD)
            .read_to_string(&mut text)?;
        text.trim_end_matches(['\r', '\n']).to_owned()
    };
    if password.is_empty() {
        bail!("the password is empty");
    }
    Ok(password)
}
