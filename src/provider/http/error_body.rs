//! JSON error bodies: code, type and message, and the HTTP status that a code stands for.

use serde_json::Value;

use crate::head::aws_name;
use crate::json::{embedded, error_layers};
use crate::provider::finish_reasons;

/// An error as a JSON body reports it. See [`ReplyReader`](super::ReplyReader) for an example.
///
/// ```
/// use credpool::provider::http::{ReplyReader, ReportedError, Reply};
/// use serde_json::{Value, json};
///
/// /// An error that comes with status 200.
/// fn failure(answer: &Value) -> Option<ReportedError> {
///     let error = answer.get("error")?;
///     Some(match error.as_str() {
///         Some("busy") => ReportedError::named("busy", Some(503), "the server is busy"),
///         _ => ReportedError::of(error),
///     })
/// }
///
/// const READER: ReplyReader = ReplyReader::new(|_| Reply::default()).with_failure(failure);
/// assert!(failure(&json!({"error": "busy"})).is_some());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReportedError {
    /// `error.code`, `rate_limit_exceeded` for example; in an OAuth answer, `error` itself; else Google's reason in the
    /// details, `API_KEY_INVALID` for example.
    pub(crate) code: Option<String>,
    /// `error.type`, `invalid_request_error` for example; else Google's `status`, `UNAVAILABLE` for example.
    pub(crate) kind: Option<String>,
    /// `error_type`, which stands for the same in all APIs of OpenRouter
    /// (<https://openrouter.ai/docs/api/reference/errors-and-debugging>); elsewhere what Together and Hugging Face's servers call it.
    typed: Option<String>,
    /// `error.message`, or `error_description`.
    pub(crate) message: Option<String>,
    /// A status written as a number.
    number: Option<u16>,
}

impl ReportedError {
    /// Reads the forms that servers use: `{"error":{"code","type","message"}}`, `{"error":"code","error_description"}`,
    /// `{"error":"message"}`, `{"errors":[…]}` and, where `type` or `object` is `error`, the members side by side; at Google also as the first of
    /// an array. `None` where there is no error, or one that says nothing.
    pub(crate) fn find(body: &Value) -> Option<Self> {
        let body = body.get(0).unwrap_or(body);
        let member = |name| body.get(name).filter(|error| says_something(error));
        let is_error = |name| body.get(name).is_some_and(|kind| kind == "error");
        let has_type = || body.get("__type").is_some_and(Value::is_string);
        match member("error").or_else(|| member("errors").filter(|errors| errors.is_array())) {
            Some(Value::String(text)) if embedded(text).is_none() => {
                Some(Self::in_words(text, body))
            }
            Some(error) => Some(Self::of(error).typed_by(body)),
            None if is_error("type") || is_error("object") || has_type() => Some(Self::of(body)),
            None => Self::by_another_name(body),
        }
    }

    /// An error whose code or message is all that `error` is.
    fn in_words(text: &str, body: &Value) -> Self {
        let mut problem = Self {
            message: text_of(body, "error_description").or_else(|| text_of(body, "message")),
            typed: text_of(body, "error_type"),
            number: number_in(body),
            ..Self::default()
        };
        if text.contains(char::is_whitespace) {
            problem.message.get_or_insert_with(|| text.to_owned());
        } else {
            problem.code = Some(text.to_owned());
        }
        problem
    }

    /// An error that is not called one, as some vendors put it beside an empty reply or in its place.
    fn by_another_name(body: &Value) -> Option<Self> {
        // https://platform.minimax.io/docs/api-reference/errorcode: every answer has it, with 0 where all is well.
        if let Some(base) = body.get("base_resp") {
            let code = base.get("status_code").and_then(Value::as_i64);
            return code.filter(|code| *code != 0).map(|code| Self {
                code: Some(code.to_string()),
                message: text_of(base, "status_msg"),
                number: minimax_status_of(code),
                ..Self::default()
            });
        }
        // https://support.huaweicloud.com/intl/en-us/api-modelarts/modelarts_03_0094.html, and Baidu's older API.
        if let Some(code) = body.get("error_code").filter(|code| says_something(code)) {
            return Some(Self {
                code: code.as_str().map(str::to_owned).or(Some(code.to_string())),
                message: text_of(body, "error_msg"),
                ..Self::default()
            });
        }
        // Gateways, and https://developers.cloudflare.com/fundamentals/api/how-to/make-api-calls.
        if body.get("success") == Some(&Value::Bool(false)) {
            let first = body.get("errors").and_then(|errors| errors.get(0));
            return Some(Self::of(first.unwrap_or(body)));
        }
        None
    }

    /// An error that is known by its name alone, with the status that it stands for.
    pub fn named(name: &str, status: Option<u16>, message: &str) -> Self {
        Self {
            code: Some(name.to_owned()),
            message: Some(message.to_owned()),
            number: status,
            ..Self::default()
        }
    }

    /// The error that a reason for the end of a reply means, if it means one (`error`, `timeout`, `overloaded` and what vendors call them, in
    /// any case), with what the vendor `said` of it.
    ///
    /// ```
    /// use credpool::provider::http::ReportedError;
    ///
    /// assert!(ReportedError::of_end("ERROR", Some("out of memory")).is_some());
    /// assert!(ReportedError::of_end("MAX_TOKENS", None).is_none());
    /// ```
    pub fn of_end(reason: &str, said: Option<&str>) -> Option<Self> {
        let mut problem = finish_reasons::fault(reason)?;
        if let Some(said) = said {
            problem.message = Some(said.to_owned());
        }
        Some(problem)
    }

    /// Why an answer holds no reply, as far as it says so.
    pub fn of_no_reply(body: &Value) -> Self {
        let mut problem = Self::of(body);
        // An answer's own `status` and `type` are no error's.
        problem.kind = None;
        let said = problem.message;
        problem.message = Some(match said {
            Some(said) => format!("the answer holds no reply: {said}"),
            None => "the answer holds no reply".to_owned(),
        });
        problem
    }

    /// What an error object says, by its members `code`, `type`, `status` and `message`, and by those of the errors that it wraps.
    pub fn of(error: &Value) -> Self {
        let mut problem = Self::default();
        error_layers(error, &mut |layer| problem.add(layer));
        problem
    }

    fn add(&mut self, layer: &Value) {
        if let Some(text) = layer.as_str() {
            self.message.get_or_insert_with(|| text.to_owned());
            return;
        }
        let code = || {
            let of_aws = || text_of(layer, "__type").map(|name| aws_name(&name).to_owned());
            text_of(layer, "code")
                .or_else(|| reason_of(layer))
                .or_else(of_aws)
        };
        let kind = || {
            text_of(layer, "type")
                .filter(|kind| kind != "error" && !kind.contains([':', '/']))
                .or_else(|| text_of(layer, "status"))
        };
        self.code = self.code.take().or_else(code);
        self.kind = self.kind.take().or_else(kind);
        self.number = self.number.or_else(|| number_in(layer));
        let typed = || text_of(layer.get("metadata")?, "error_type");
        self.typed = self.typed.take().or_else(typed);
        self.add_type(layer);
    }

    fn add_type(&mut self, layer: &Value) {
        let typed = self.typed.take();
        self.typed = typed.or_else(|| text_of(layer, "error_type"));
    }

    /// The same with the `error_type` that stands beside it, unless it has one, and with the status there.
    pub(crate) fn typed_by(mut self, whole: &Value) -> Self {
        self.add_type(whole);
        self.number = self.number.or_else(|| number_of(whole, "status_code"));
        self
    }

    /// The same under this name, unless it has one.
    pub(crate) fn or_named(mut self, name: Option<&str>) -> Self {
        if self.name().is_none() {
            self.code = name.map(str::to_owned);
        }
        self
    }

    /// Its code and type in a word or two.
    pub(crate) fn name(&self) -> Option<String> {
        match (&self.code, &self.kind) {
            (Some(code), Some(kind)) if code != kind => Some(format!("{code} ({kind})")),
            (Some(name), _) | (None, Some(name)) => Some(name.clone()),
            (None, None) => self.typed.clone(),
        }
    }

    /// The HTTP status that this error has where it comes without one, as far as one of its names is known.
    pub(crate) fn status(&self) -> Option<u16> {
        self.number.or_else(|| {
            [&self.typed, &self.code, &self.kind]
                .into_iter()
                .flatten()
                .find_map(|name| status_of(name))
        })
    }
}

/// Whether an error says that there is one: some servers put an empty one beside every reply, or one with the code 0.
fn says_something(error: &Value) -> bool {
    match error {
        Value::Null | Value::Bool(false) => false,
        Value::Bool(true) => true,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !matches!(text.as_str(), "" | "0"),
        Value::Array(items) => items.first().is_some_and(says_something),
        Value::Object(members) => {
            let is_zero = |code: &Value| *code == 0 || *code == "0";
            !members.get("code").is_some_and(is_zero) && members.values().any(says_something)
        }
    }
}

fn text_of(value: &Value, name: &str) -> Option<String> {
    let text = value.get(name)?.as_str()?;
    (!text.is_empty()).then(|| text.to_owned())
}

/// The reason in the details of a `google.rpc.Status` (<https://google.aip.dev/193#errorinfo>).
fn reason_of(error: &Value) -> Option<String> {
    let details = error.get("details")?.as_array()?;
    details
        .iter()
        .filter(|detail| {
            let kind = detail.get("@type").and_then(Value::as_str);
            kind.is_some_and(|kind| kind.ends_with("google.rpc.ErrorInfo"))
        })
        .find_map(|detail| text_of(detail, "reason"))
}

/// The error status that an error names.
fn number_in(error: &Value) -> Option<u16> {
    let names = ["code", "status", "status_code"];
    names.iter().find_map(|name| number_of(error, name))
}

/// An error status, as a number or as text.
fn number_of(value: &Value, name: &str) -> Option<u16> {
    let value = value.get(name)?;
    let number = value
        .as_u64()
        .or_else(|| value.as_str()?.parse().ok())
        .and_then(|number| u16::try_from(number).ok());
    number.filter(|status| (400..600).contains(status))
}

/// The HTTP status that stands for a code of <https://platform.minimax.io/docs/api-reference/errorcode>.
fn minimax_status_of(code: i64) -> Option<u16> {
    Some(match code {
        1004 | 2049 => 401,
        1008 => 402,
        1026 | 1027 | 1042 | 1043 | 1044 | 2013 | 20132 | 2037 | 2038 | 2039 | 2042 => 400,
        1001 => 504,
        1002 | 1039 | 1041 | 2045 | 2056 => 429,
        1000 | 1013 | 1024 | 1033 => 500,
        _ => return None,
    })
}

/// From the [error codes guide of OpenAI](https://platform.openai.com/docs/guides/error-codes), the
/// [error page of Anthropic](https://docs.anthropic.com/en/api/errors), whose names compatible servers use too, and what
/// servers send in streams.
fn status_of(name: &str) -> Option<u16> {
    Some(match name {
        "invalid_request_error"
        | "invalid_request"
        | "context_length_exceeded"
        | "content_filter"
        | "content_policy_violation"
        | "string_above_max_length"
        // Why a response failed (<https://platform.openai.com/docs/api-reference/responses/object>): its input is at fault.
        | "invalid_prompt"
        | "data_residency_mismatch"
        | "bio_policy"
        | "misalignment_policy_violation"
        | "invalid_image"
        | "invalid_image_format"
        | "invalid_base64_image"
        | "invalid_image_url"
        | "invalid_image_mode"
        | "image_too_large"
        | "image_too_small"
        | "image_parse_error"
        | "image_content_policy_violation"
        | "image_file_too_large"
        | "unsupported_image_media_type"
        | "empty_image_file"
        | "failed_to_download_image"
        | "image_file_not_found" => 400,
        "invalid_api_key"
        | "authentication_error"
        | "invalid_authentication"
        | "authentication"
        | "unauthorized" => 401,
        "billing_error" => 402,
        "permission_error" | "permission_denied" | "unsupported_country_region_territory" => 403,
        "model_not_found" | "not_found_error" => 404,
        "timeout" | "request_timeout" => 408,
        "request_too_large" => 413,
        // OpenAI names the exhausted limit in `type`: requests or tokens.
        "rate_limit_exceeded"
        | "rate_limit_error"
        | "rate_limit_reached"
        | "insufficient_quota"
        | "billing_hard_limit_reached"
        | "credit_balance_exhausted"
        | "quota_exceeded"
        | "usage_limit_reached"
        | "requests"
        | "tokens"
        // DashScope's (https://help.aliyun.com/en/model-studio/error-code), LiteLLM's, and Zhipu's numbers
        // (https://docs.z.ai/api-reference/api-code).
        | "Throttling"
        | "Throttling.RateQuota"
        | "Throttling.BurstRate"
        | "Throttling.AllocationQuota"
        | "PrepaidBillOverdue"
        | "PostpaidBillOverdue"
        | "CommodityNotPurchased"
        | "BudgetLimitExceeded"
        | "limit_requests"
        | "limit_burst_rate"
        | "throttling_error"
        | "1302"
        | "1303"
        | "1304"
        | "1305"
        | "1308"
        | "1309"
        | "1310"
        | "1311"
        | "1312"
        | "1314"
        | "1316"
        | "1317"
        | "1318"
        | "1319"
        | "1320"
        | "1321"
        | "1313"
        | "1315"
        | "1113"
        | "too_many_requests" => 429,
        "server_error" | "internal_error" | "internal_server_error" | "api_error" => 500,
        "overloaded"
        | "server_overloaded"
        | "server_is_overloaded"
        | "engine_overloaded"
        | "service_unavailable"
        | "service_unavailable_error"
        | "slow_down" => 503,
        "timeout_error" | "vector_store_timeout" => 504,
        // Anthropic's own; the others call it 503.
        "overloaded_error" => 529,
        _ => {
            let others = [error_type_status_of, rpc_status_of, aws_status_of];
            return others.iter().find_map(|status_of| status_of(name));
        }
    })
}

/// What servers write into `error_type`, as far as it is no code of others: OpenRouter
/// (<https://openrouter.ai/docs/api/reference/errors-and-debugging>), Together (<https://docs.together.ai/docs/rate-limits>), and Hugging
/// Face's servers (`validation`).
fn error_type_status_of(name: &str) -> Option<u16> {
    Some(match name {
        "max_tokens_exceeded"
        | "token_limit_exceeded"
        | "string_too_long"
        | "precondition_failed"
        | "unprocessable"
        | "refusal"
        | "unsupported_image_format"
        // A file of the request's, and no model.
        | "image_not_found"
        | "image_download_failed"
        | "validation" => 400,
        "payment_required" => 402,
        "not_found" => 404,
        "payload_too_large" => 413,
        "dynamic_request_limited" | "dynamic_token_limited" => 429,
        "server" | "unmapped" => 500,
        "provider_unavailable" => 502,
        "provider_overloaded" => 503,
        _ => return None,
    })
}

/// The HTTP status that an AWS service's error has where it comes without one, in a stream. The exceptions of Bedrock Runtime, by
/// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStreamOutput.html>, `API_runtime_ResponseStream.html` and the
/// service's model in botocore 1.43.
fn aws_status_of(name: &str) -> Option<u16> {
    const STATUSES: [(&str, u16); 12] = [
        ("accessDeniedException", 403),
        ("conflictException", 400),
        ("internalServerException", 500),
        ("modelErrorException", 424),
        ("modelNotReadyException", 429),
        ("modelStreamErrorException", 424),
        ("modelTimeoutException", 408),
        ("resourceNotFoundException", 404),
        ("serviceQuotaExceededException", 400),
        ("serviceUnavailableException", 503),
        ("throttlingException", 429),
        ("validationException", 400),
    ];
    let mut statuses = STATUSES.iter();
    let is_named = |(known, _): &&(&str, u16)| known.eq_ignore_ascii_case(name);
    statuses.find(is_named).map(|(_, status)| *status)
}

/// From the codes of `google.rpc` (<https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto>).
fn rpc_status_of(name: &str) -> Option<u16> {
    Some(match name {
        "INVALID_ARGUMENT" | "FAILED_PRECONDITION" | "OUT_OF_RANGE" => 400,
        "UNAUTHENTICATED" => 401,
        "PERMISSION_DENIED" => 403,
        "NOT_FOUND" => 404,
        "ABORTED" | "ALREADY_EXISTS" => 409,
        "RESOURCE_EXHAUSTED" => 429,
        "CANCELLED" => 499,
        "INTERNAL" | "UNKNOWN" | "DATA_LOSS" => 500,
        "UNIMPLEMENTED" => 501,
        "UNAVAILABLE" => 503,
        "DEADLINE_EXCEEDED" => 504,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Option<ReportedError> {
        ReportedError::find(&serde_json::from_str(body).unwrap())
    }

    #[test]
    fn the_forms_of_error_bodies() {
        for (body, name, message, status) in [
            (
                r#"{"error":{"message":"Slow","type":"requests","code":"rate_limit_exceeded"}}"#,
                Some("rate_limit_exceeded (requests)"),
                Some("Slow"),
                Some(429),
            ),
            (
                r#"{"error":{"message":"m","type":"server_error","code":null}}"#,
                Some("server_error"),
                Some("m"),
                Some(500),
            ),
            (
                r#"{"error":{"code":502,"message":"m"}}"#,
                None,
                Some("m"),
                Some(502),
            ),
            (r#"{"error":{"code":"503"}}"#, Some("503"), None, Some(503)),
            (
                r#"{"error":"invalid_grant","error_description":"d"}"#,
                Some("invalid_grant"),
                Some("d"),
                None,
            ),
            (
                r#"{"error":"Something is wrong","status":401}"#,
                None,
                Some("Something is wrong"),
                Some(401),
            ),
            (
                r#"{"type":"error","error":{"type":"overloaded_error","message":"m"}}"#,
                Some("overloaded_error"),
                Some("m"),
                Some(529),
            ),
            (
                r#"{"type":"error","code":"slow_down","message":"m"}"#,
                Some("slow_down"),
                Some("m"),
                Some(503),
            ),
            (
                r#"{"object":"error","message":"m","type":"BadRequestError","param":null,"code":400}"#,
                Some("BadRequestError"),
                Some("m"),
                Some(400),
            ),
            (
                r#"{"error":{"code":99999,"type":"odd"}}"#,
                Some("odd"),
                None,
                None,
            ),
            (r#"{"error":[1]}"#, None, None, None),
            (
                r#"{"error":{"code":"server_error","message":"m"},"error_type":"authentication"}"#,
                Some("server_error"),
                Some("m"),
                Some(401),
            ),
            (
                r#"{"error":{"message":"m","metadata":{"error_type":"provider_overloaded"}}}"#,
                Some("provider_overloaded"),
                Some("m"),
                Some(503),
            ),
            (
                r#"{"error":{"type":"too_many_requests_error","message":"m"},"status_code":429}"#,
                Some("too_many_requests_error"),
                Some("m"),
                Some(429),
            ),
            (
                r#"{"error":"Model is overloaded","error_type":"overloaded"}"#,
                Some("overloaded"),
                Some("Model is overloaded"),
                Some(503),
            ),
            (
                r#"{"error":{"code":400,"message":"m","status":"INVALID_ARGUMENT","details":[{"reason":"no"},
                    {"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID"}]}}"#,
                Some("API_KEY_INVALID (INVALID_ARGUMENT)"),
                Some("m"),
                Some(400),
            ),
            (
                r#"[{"error":{"message":"m","status":"UNAVAILABLE","details":{}}}]"#,
                Some("UNAVAILABLE"),
                Some("m"),
                Some(503),
            ),
        ] {
            let problem = read(body).unwrap();
            assert_eq!(problem.name().as_deref(), name, "{body}");
            assert_eq!(problem.message.as_deref(), message, "{body}");
            assert_eq!(problem.status(), status, "{body}");
        }
    }

    #[test]
    fn errors_by_another_name() {
        for (body, name, message, status) in [
            (
                r#"{"choices":null,"base_resp":{"status_code":1002,"status_msg":"rate limit"}}"#,
                Some("1002"),
                Some("rate limit"),
                Some(429),
            ),
            (
                r#"{"base_resp":{"status_code":1008,"status_msg":"insufficient balance"}}"#,
                Some("1008"),
                Some("insufficient balance"),
                Some(402),
            ),
            (
                r#"{"base_resp":{"status_code":1234}}"#,
                Some("1234"),
                None,
                None,
            ),
            (
                r#"{"error_code":"ModelArts.81101","error_msg":"Rate limited"}"#,
                Some("ModelArts.81101"),
                Some("Rate limited"),
                None,
            ),
            (
                r#"{"error_code":336100,"error_msg":"m"}"#,
                Some("336100"),
                Some("m"),
                None,
            ),
            (
                r#"{"success":false,"code":500,"message":"upstream busy"}"#,
                None,
                Some("upstream busy"),
                Some(500),
            ),
            (
                r#"{"result":null,"success":false,"errors":[{"code":10000,"message":"Authentication error"}]}"#,
                None,
                Some("Authentication error"),
                None,
            ),
        ] {
            let problem = read(body).unwrap();
            assert_eq!(problem.name().as_deref(), name, "{body}");
            assert_eq!(problem.message.as_deref(), message, "{body}");
            assert_eq!(problem.status(), status, "{body}");
        }
    }

    #[test]
    fn no_error_is_none() {
        for body in [
            "{}",
            r#"{"error":null,"choices":[]}"#,
            r#"{"error":false}"#,
            r#"{"error":""}"#,
            // It says nothing.
            r#"{"error":{}}"#,
            r#"{"error":[]}"#,
            r#"{"base_resp":{"status_code":0,"status_msg":"success"}}"#,
            r#"{"base_resp":null}"#,
            r#"{"error_code":0}"#,
            r#"{"error_code":""}"#,
            r#"{"success":true}"#,
            "[1]",
        ] {
            assert_eq!(read(body), None, "{body}");
        }
    }
}
