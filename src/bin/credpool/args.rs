//! The arguments, and the help.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as Group, Parser, Subcommand, ValueEnum};

/// The end of a subcommand's help.
macro_rules! example {
    ($line:literal) => {
        concat!("Example:\n  ", $line)
    };
}

/// Sees to the credentials of a pool: which are unavailable, why, until when, and what to do.
#[derive(Debug, Parser)]
#[command(name = "credpool", version, after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The store: a directory, `sqlite:PATH`, `postgres://…`, `redis://…` or `rediss://…`; else the variable `CREDPOOL_STORE`
    ///
    /// A URL with a password goes into the variable: other users of the machine can read arguments.
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "STORE")]
    pub(crate) store: Option<String>,

    /// The name of the pool on a Redis server; else the variable `CREDPOOL_STORE_NAME`
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "NAME")]
    pub(crate) store_name: Option<String>,

    /// The file with the keys of a sealed store; else the variable `CREDPOOL_SEAL_KEY_FILE`, or `CREDPOOL_SEAL_KEY` with the keys themselves
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "FILE")]
    pub(crate) seal_key_file: Option<PathBuf>,

    /// Print one JSON document instead of text
    #[arg(long, global = true, help_heading = EVERYWHERE)]
    pub(crate) json: bool,

    /// When to use colours
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: Color,

    /// Show on standard error what the library logs for debugging
    #[arg(short, long, global = true, help_heading = EVERYWHERE)]
    pub(crate) verbose: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless the variable `NO_COLOR` is set
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the credentials, those that need something first
    #[command(after_help = example!("credpool list --unavailable"))]
    List(Choice),

    /// Show all that is known of credentials, but for their secrets
    #[command(after_help = example!("credpool show team-a"))]
    Show(Ids),

    /// Explain for each credential whether it can serve a model, until when not, and why
    ///
    /// Ends with code 1 where no credential can serve.
    #[command(after_help = example!("credpool explain openai gpt-5"))]
    Explain(Explain),

    /// Add an API key, from a prompt without echo or from standard input
    #[command(after_help = example!("credpool add openai --id team-a < key.txt"))]
    Add(Add),

    /// Log a person in, on any device or in a browser on this machine
    #[command(after_help = example!("credpool login ada --provider my-llm --device --client-id my-app --issuer https://login.example.org --scope offline_access"))]
    Login(Login),

    /// Import what another program's file holds: Codex, Claude Code, Gemini CLI, gcloud, opencode and others
    #[command(after_help = example!("credpool import ~/.codex/auth.json --dry-run"))]
    Import(Import),

    /// Disable credentials until they are enabled again
    #[command(after_help = example!("credpool disable team-a team-b"))]
    Disable(Ids),

    /// Enable disabled credentials
    #[command(after_help = example!("credpool enable team-a"))]
    Enable(Ids),

    /// Remove credentials from the store, for every process that shares it
    #[command(after_help = example!("credpool remove team-a --yes"))]
    Remove(Remove),

    /// Refresh the tokens of credentials now
    #[command(after_help = example!("credpool refresh ada"))]
    Refresh(Ids),

    /// End cooldowns: the next call tries the credentials again
    #[command(after_help = example!("credpool reset team-a --model gpt-5"))]
    Reset(Reset),

    /// Cool credentials down for a while
    #[command(after_help = example!("credpool cool-down team-a --for 30m"))]
    CoolDown(CoolDown),

    /// Ask each credential's vendor whether it accepts the credential, by a documented call that costs nothing
    ///
    /// Nothing is written. Ends with code 1 where a vendor refuses one.
    #[command(after_help = example!("credpool check --provider openai"))]
    Check(Check),

    /// Watch the credentials in a live table; Ctrl-C ends it
    #[command(after_help = example!("credpool watch --unavailable --interval 2s"))]
    Watch(Watch),

    /// Copy credentials, with their state, into another store
    ///
    /// What is there already stays as it is, unless `--replace` is given.
    #[command(after_help = example!("credpool --store credentials copy --to sqlite:credentials.db"))]
    Copy(Copy),

    /// Encrypt what is secret in the store with the first of the keys
    #[command(after_help = example!("credpool seal --seal-key-file key --make-key"))]
    Seal(Seal),

    /// Write the records of a sealed store readable again
    #[command(after_help = example!("credpool unseal --seal-key-file key --yes"))]
    Unseal(Unseal),
}

/// Which credentials to show.
#[derive(Debug, Group)]
pub(crate) struct Choice {
    /// Those of one provider alone
    #[arg(long, value_name = "NAME")]
    pub(crate) provider: Option<String>,

    /// Those alone that cannot serve some model, or need something
    #[arg(long)]
    pub(crate) unavailable: bool,
}

#[derive(Debug, Group)]
pub(crate) struct Ids {
    /// The ids, as `credpool list` shows them
    #[arg(required = true, value_name = "ID")]
    pub(crate) ids: Vec<String>,
}

#[derive(Debug, Group)]
pub(crate) struct Explain {
    /// The provider; every one where it is left out
    pub(crate) provider: Option<String>,

    /// The model; every one that is known where it is left out
    pub(crate) model: Option<String>,
}

#[derive(Debug, Group)]
pub(crate) struct Add {
    /// The provider, `openai` for example
    pub(crate) provider: String,

    /// The new id; one is made where it is left out
    #[arg(long)]
    pub(crate) id: Option<String>,

    /// A name for people
    #[arg(long)]
    pub(crate) label: Option<String>,

    /// A setting, `base_url=https://llm.example.org/v1` for example; none that is secret
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) settings: Vec<(String, String)>,

    /// A model that the credential serves; every one where none is named
    #[arg(long = "model", value_name = "MODEL")]
    pub(crate) models: Vec<String>,

    /// Give a credential that is there already the new key and the settings that are named
    #[arg(long, requires = "id")]
    pub(crate) replace: bool,
}

#[derive(Debug, Group)]
#[command(group(clap::ArgGroup::new("flow").required(true).args(["device", "browser"])))]
#[command(group(clap::ArgGroup::new("server").required(true).args(["issuer", "begin_url"])))]
pub(crate) struct Login {
    /// The credential; one that is not there yet is made, and needs `--provider`
    pub(crate) id: String,

    /// The provider of a new credential
    #[arg(long, value_name = "NAME")]
    pub(crate) provider: Option<String>,

    /// On any device, with a code
    #[arg(long)]
    pub(crate) device: bool,

    /// In a browser on this machine
    #[arg(long)]
    pub(crate) browser: bool,

    /// The client that is registered at the login server
    #[arg(long, value_name = "CLIENT")]
    pub(crate) client_id: String,

    /// Read the client's secret, from a prompt without echo or from standard input
    #[arg(long)]
    pub(crate) client_secret: bool,

    /// The login server, which publishes its addresses
    #[arg(long, value_name = "URL")]
    pub(crate) issuer: Option<String>,

    /// Where the login begins: the device authorization or the authorization endpoint
    #[arg(long, value_name = "URL", requires = "token_url")]
    pub(crate) begin_url: Option<String>,

    /// The token endpoint
    #[arg(long, value_name = "URL", requires = "begin_url")]
    pub(crate) token_url: Option<String>,

    /// The scopes to ask for, with spaces between them
    #[arg(long)]
    pub(crate) scope: Option<String>,

    /// A further parameter with which the login begins
    #[arg(long = "parameter", value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) parameters: Vec<(String, String)>,

    /// Where the browser comes back to, as it is registered
    #[arg(long, value_name = "URL")]
    pub(crate) redirect_uri: Option<String>,

    /// How long the person may take
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = duration)]
    pub(crate) timeout: Duration,
}

#[derive(Debug, Group)]
pub(crate) struct Import {
    /// The file of the other program
    pub(crate) file: PathBuf,

    /// What the new ids begin with; the program's name where it is left out
    #[arg(long, value_name = "TEXT")]
    pub(crate) prefix: Option<String>,

    /// Have this pool refresh the logins, instead of the program that owns the file
    #[arg(long)]
    pub(crate) take_over: bool,

    /// Say what is in the file, and write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Group)]
pub(crate) struct Remove {
    #[command(flatten)]
    pub(crate) ids: Ids,

    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Group)]
pub(crate) struct Reset {
    #[command(flatten)]
    pub(crate) ids: Ids,

    /// For one model alone
    #[arg(long)]
    pub(crate) model: Option<String>,
}

#[derive(Debug, Group)]
pub(crate) struct CoolDown {
    #[command(flatten)]
    pub(crate) ids: Ids,

    /// For how long: `90s`, `30m`, `2h 15m`, `1d`
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    pub(crate) time: Duration,

    /// For one model alone
    #[arg(long)]
    pub(crate) model: Option<String>,
}

#[derive(Debug, Group)]
pub(crate) struct Check {
    /// The ids; every enabled credential where none is named
    #[arg(value_name = "ID")]
    pub(crate) ids: Vec<String>,

    /// Those of one provider alone
    #[arg(long, value_name = "NAME")]
    pub(crate) provider: Option<String>,

    /// First refresh the logins whose token has ended
    #[arg(long)]
    pub(crate) refresh: bool,

    /// How long a vendor may take to answer
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = duration)]
    pub(crate) timeout: Duration,

    /// How many are asked concurrently
    #[arg(long, value_name = "NUMBER", default_value = "16", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) parallel: u16,
}

#[derive(Debug, Group)]
pub(crate) struct Watch {
    #[command(flatten)]
    pub(crate) choice: Choice,

    /// How often to look
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    pub(crate) interval: Duration,
}

#[derive(Debug, Group)]
pub(crate) struct Copy {
    /// The ids; every credential where none is named
    #[arg(value_name = "ID")]
    pub(crate) ids: Vec<String>,

    /// The other store, in the form of `--store`; else the variable `CREDPOOL_TO`
    #[arg(long, value_name = "STORE")]
    pub(crate) to: Option<String>,

    /// The name of the pool on the other store's Redis server
    #[arg(long, value_name = "NAME")]
    pub(crate) to_name: Option<String>,

    /// The file with the keys of the other store
    #[arg(long, value_name = "FILE")]
    pub(crate) to_seal_key_file: Option<PathBuf>,

    /// Copy a sealed store into one that is not
    #[arg(long, conflicts_with = "to_seal_key_file")]
    pub(crate) to_plain: bool,

    /// Replace what is there under the same ids
    #[arg(long)]
    pub(crate) replace: bool,
}

#[derive(Debug, Group)]
pub(crate) struct Seal {
    /// First make a new key, in the file of `--seal-key-file`, which must not be there yet
    #[arg(long)]
    pub(crate) make_key: bool,
}

#[derive(Debug, Group)]
pub(crate) struct Unseal {
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
}

impl Args {
    /// The arguments of this process. What is wrong with them ends it, with code 2.
    pub(crate) fn read() -> Self {
        Self::parse()
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("it has the form NAME=VALUE")?;
    if name.is_empty() {
        return Err("its name is empty".to_owned());
    }
    Ok((name.to_owned(), value.to_owned()))
}

fn duration(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if time.is_zero() {
        return Err("it must be longer than nothing".to_owned());
    }
    Ok(time)
}

const EVERYWHERE: &str = "Options of every subcommand";

const AFTER_HELP: &str = "\
Exit codes:
  0    all is well
  1    it was done, and not all is well: a credential does not serve
  2    the command or a setting is wrong, and nothing was done
  3    the store cannot be opened, read or written
  4    there is no such credential
  5    a vendor or a login server refused, or was not reached
  130  interrupted

Example:
  export CREDPOOL_STORE=/var/lib/my-program/credentials
  credpool list";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn each_subcommand_has_an_example_that_parses() {
        for command in Args::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string);
            let help = help.unwrap_or_else(|| panic!("{} has an example", command.get_name()));
            let line = help.trim_start_matches("Example:\n  ");
            let words = line.split(" < ").next().unwrap().split(' ');
            let parsed = Args::try_parse_from(words);
            assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
        }
    }
}
