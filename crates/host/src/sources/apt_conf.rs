//! apt's own configuration: apt.conf(5), as much of it as is needed for proxies.

use std::collections::BTreeMap;

use super::Found;

const PARTS: &str = "/etc/apt/apt.conf.d";
const MAIN: &str = "/etc/apt/apt.conf";

/// A value and the line that set it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Value {
    pub(super) text: String,
    pub(super) why: String,
}

/// All settings by their full name in lower case (apt ignores case).
pub(super) type Settings = BTreeMap<String, Value>;

/// Reads the parts in order, then the main file; what comes later wins.
pub(super) fn read(found: &mut Found<'_>) -> Settings {
    let names = found.tree.list(PARTS).unwrap_or_else(|problem| {
        found.problems.push(problem);
        Vec::new()
    });
    let parts = names.into_iter().filter(|n| is_part(n)).map(|n| format!("{PARTS}/{n}"));
    let mut settings = Settings::new();
    for file in parts.chain([MAIN.to_owned()]) {
        if let Some(text) = found.read(&file) {
            for why in parse(&text, &file, &mut settings) {
                found.problem(&why, "#include is not followed");
            }
        }
    }
    settings
}

/// Which files of the directory apt reads: with no extension or `.conf`, and no odd characters.
fn is_part(name: &str) -> bool {
    let extension = name.rsplit_once('.').map(|(_, e)| e);
    matches!(extension, None | Some("conf"))
        && !name.starts_with('.')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':'))
}

#[derive(Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Quoted(String),
    Open,
    Close,
    End,
    Clear(String),
    Include,
}

/// Adds what `text` sets, and gives the places of `#include` directives.
fn parse(text: &str, file: &str, settings: &mut Settings) -> Vec<String> {
    let mut scopes: Vec<String> = Vec::new();
    let mut statement: Vec<(Token, usize)> = Vec::new();
    let mut includes = Vec::new();
    for (token, line) in tokens(text) {
        match token {
            Token::Word(_) | Token::Quoted(_) => statement.push((token, line)),
            Token::End => set(&scopes, &mut statement, file, settings),
            Token::Open => {
                let name = match statement.first() {
                    Some((Token::Word(name), _)) => name.to_ascii_lowercase(),
                    _ => String::new(),
                };
                set(&scopes, &mut statement, file, settings);
                scopes.push(name);
            }
            Token::Close => {
                set(&scopes, &mut statement, file, settings);
                scopes.pop();
            }
            Token::Clear(name) => {
                let below = format!("{name}::");
                settings.retain(|key, _| *key != name && !key.starts_with(&below));
            }
            Token::Include => includes.push(format!("{file}:{line}")),
        }
    }
    includes
}

/// Ends a statement: a name and a value set something, a name or a value alone does not.
fn set(scopes: &[String], statement: &mut Vec<(Token, usize)>, file: &str, settings: &mut Settings) {
    let mut parts = std::mem::take(statement).into_iter();
    let (Some((Token::Word(name), _)), Some((Token::Word(text) | Token::Quoted(text), line))) =
        (parts.next(), parts.next())
    else {
        return;
    };
    let mut key = scopes.join("::");
    if !key.is_empty() {
        key.push_str("::");
    }
    key.push_str(&name.to_ascii_lowercase());
    settings.insert(key, Value { text, why: format!("{file}:{line}") });
}

/// Takes the text apart; comments go.
fn tokens(text: &str) -> Vec<(Token, usize)> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let line = 1 + text[..text.len() - rest.len()].bytes().filter(|&b| b == b'\n').count();
        let eol = rest.find('\n').unwrap_or(rest.len());
        let taken = match first {
            '{' | '}' | ';' => {
                out.push((
                    if first == '{' {
                        Token::Open
                    } else if first == '}' {
                        Token::Close
                    } else {
                        Token::End
                    },
                    line,
                ));
                1
            }
            '"' => {
                let end = rest[1..].find('"').unwrap_or(rest.len() - 1);
                out.push((Token::Quoted(rest[1..=end].to_owned()), line));
                (end + 2).min(rest.len())
            }
            '#' => {
                out.extend(directive(&rest[..eol]).map(|d| (d, line)));
                eol
            }
            _ if rest.starts_with("//") => eol,
            _ if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            c if c.is_whitespace() => c.len_utf8(),
            _ => {
                let stop = |c: char| c.is_whitespace() || matches!(c, '{' | '}' | ';' | '"');
                let end = rest.find(stop).unwrap_or(rest.len());
                let word = &rest[..end];
                let end = word.find("//").unwrap_or(end);
                out.push((Token::Word(rest[..end].to_owned()), line));
                end
            }
        };
        rest = &rest[taken..];
    }
    out
}

fn directive(line: &str) -> Option<Token> {
    let (name, rest) = line.split_once(char::is_whitespace)?;
    let target = rest.trim().trim_end_matches(';').trim().to_ascii_lowercase();
    match name {
        "#clear" => Some(Token::Clear(target)),
        "#include" => Some(Token::Include),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_of_a_setting() {
        let mut settings = Settings::new();
        let includes = parse(
            "// a comment with \"quotes\" and { braces\n\
             APT::NeverAutoRemove { \"^linux-.*\"; \"^x\"; };\n\
             Acquire::http::Proxy \"http://cache.example:3142/\"; # behind\n\
             /* Acquire::https::Proxy \"http://no.example\";\n*/\n\
             acquire {\n  Retries 3;\n  HTTPS { Proxy \"DIRECT\"; Proxy::Repo.Example \"http://p:1\" }\n};\n\
             #include /etc/other;\n\
             Dpkg::Options { \"--force-confdef\"; }\n\
             A::B \"1\"; A::B::C \"2\"; A::BB \"3\";\n#clear A::B;\n",
            "/f",
            &mut settings,
        );
        let all: Vec<_> = settings.iter().map(|(k, v)| (k.as_str(), v.text.as_str(), v.why.as_str())).collect();
        assert_eq!(
            all,
            [
                ("a::bb", "3", "/f:12"),
                ("acquire::http::proxy", "http://cache.example:3142/", "/f:3"),
                ("acquire::https::proxy", "DIRECT", "/f:8"),
                ("acquire::https::proxy::repo.example", "http://p:1", "/f:8"),
                ("acquire::retries", "3", "/f:7"),
            ]
        );
        assert_eq!(includes, ["/f:10"]);
    }

    #[test]
    fn broken_text_ends() {
        for text in ["\"", "{{{", "}}}", "a \"b", "/*", "#clear", "é \"ü\";", "a::b //"] {
            parse(text, "/f", &mut Settings::new());
        }
    }

    #[test]
    fn which_parts_are_read() {
        for (name, is) in [
            ("01proxy", true),
            ("99x.conf", true),
            ("50u.ucf-dist", false),
            ("a~", false),
            (".x", false),
            ("x.bak", false),
        ] {
            assert_eq!(is_part(name), is, "{name}");
        }
    }
}
