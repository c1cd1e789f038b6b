//! `chat`: answers as they come, tools, and what Ctrl-C ends.

use credpool::testing::{Gate, ReceivedRequest, Reply, Upstream};
use crossbeam_channel::{Receiver, unbounded};
use serde_json::{Value, json};

use crate::program::{Program, SOON, example};

/// With one key of this vendor for this server.
fn start(vendor: &str, upstream: &Upstream) -> Program {
    let mut command = example("chat");
    command.env(format!("{vendor}_API_KEY"), "sk-1");
    Program::start(command.env(format!("{vendor}_BASE_URL"), upstream.url()))
}

/// A server that tells which conversations it gets.
fn upstream(
    answer: impl Fn(&Value) -> Reply + Send + Sync + 'static,
) -> (Upstream, Receiver<Value>) {
    let (sender, asked) = unbounded();
    let upstream = Upstream::start(move |request: &ReceivedRequest| {
        let messages = request.json()["messages"].take();
        let reply = answer(messages.as_array().unwrap().last().unwrap());
        let _ = sender.send(messages);
        reply
    });
    (upstream, asked)
}

fn next(asked: &Receiver<Value>) -> Value {
    asked.recv_timeout(SOON).unwrap()
}

fn openai(deltas: &[Value], finish_reason: &str) -> Reply {
    let event = |delta: &Value, end: Option<&str>| {
        json!({"choices": [{"index": 0, "delta": delta, "finish_reason": end}]}).to_string()
    };
    let mut events: Vec<_> = deltas.iter().map(|delta| event(delta, None)).collect();
    events.extend([event(&json!({}), Some(finish_reason)), "[DONE]".to_owned()]);
    Reply::sse(events)
}

fn words(words: &[&str]) -> Reply {
    let deltas: Vec<_> = words.iter().map(|word| json!({"content": word})).collect();
    openai(&deltas, "stop")
}

/// The bytes of the first events.
fn first(events: usize, reply: &[&str]) -> usize {
    let all = words(reply).size();
    let rest = words(&reply[events..]).size();
    all - rest
}

fn user(text: &str) -> Value {
    json!({"role": "user", "content": text})
}

#[test]
fn ctrl_c_ends_the_answer_and_a_second_one_at_the_prompt_the_program() {
    let gate = Gate::new();
    let (server, asked) = upstream(move |last| match last["content"].as_str() {
        Some("Tell me all.") => {
            let reply = ["First ", "of all, ", "and so on"];
            words(&reply).stall_after(first(2, &reply), &gate)
        }
        _ => words(&["It is ", "well."]),
    });
    let mut chat = start("OPENAI", &server);
    chat.wait_for("> ");
    chat.tell("Tell me all.");
    chat.wait_for("First of all, ");
    chat.interrupt();
    chat.wait_for(" [interrupted]\n> ");
    assert!(server.wait_abandoned(SOON), "nobody pays for the rest");
    assert_eq!(next(&asked), json!([user("Tell me all.")]));

    // The conversation goes on with what has been read of it.
    chat.tell("Thank you.");
    chat.wait_for("It is well.\n> ");
    let said = json!({"role": "assistant", "content": "First of all, "});
    assert_eq!(
        next(&asked),
        json!([user("Tell me all."), said, user("Thank you.")])
    );

    chat.interrupt();
    let (code, said) = chat.end();
    assert_eq!(code, Some(130), "{said}");
}

#[test]
fn ctrl_c_ends_an_answer_that_has_not_begun() {
    let gate = Gate::new();
    let (server, asked) = upstream(move |last| match last["content"].as_str() {
        Some("Hello?") => words(&["Late."]).stall_before_head(&gate),
        _ => words(&["Here I am."]),
    });
    let mut chat = start("OPENAI", &server);
    chat.tell("Hello?");
    next(&asked);
    chat.interrupt();
    chat.wait_for(" [interrupted]\n> ");
    chat.tell("Are you there?");
    chat.wait_for("Here I am.\n> ");
    assert_eq!(
        next(&asked),
        json!([user("Hello?"), user("Are you there?")])
    );
    let (code, said) = chat.end();
    assert_eq!(code, Some(0), "the end of the input is a good end: {said}");
    assert!(!said.contains("Late."), "{said}");
}

#[test]
fn an_error_ends_the_answer_alone() {
    let (server, _asked) = upstream(|last| match last["content"].as_str() {
        Some("Break.") => Reply::json(400, r#"{"error":{"message":"I cannot read that."}}"#),
        Some("Cut.") => words(&["Half a ", "word"]).cut_after(first(1, &["Half a ", "word"])),
        _ => words(&["Whole."]),
    });
    let mut chat = start("OPENAI", &server);
    chat.tell("Break.");
    chat.wait_for("I cannot read that.");
    chat.wait_for("\n> ");
    chat.tell("Cut.");
    chat.wait_for("Half a  [stream_");
    chat.wait_for("\n> ");
    chat.tell("Well?");
    chat.wait_for("Whole.\n> ");
    assert_eq!(chat.end().0, Some(0));
}

/// Asks for two tools, one of them with arguments that are wrong, and then for none.
#[test]
fn tools_are_used_until_the_model_asks_for_none() {
    let (server, asked) = upstream(|last| match last["role"].as_str() {
        Some("tool") => words(&["Good evening!"]),
        _ => {
            let call = |index: usize, delta: Value| json!({"tool_calls": [{"index": index, "function": delta}]});
            let begins = |index: usize| {
                let id = format!("call_{index}");
                let function = json!({"name": "current_time", "arguments": ""});
                json!({"tool_calls": [{"index": index, "id": id, "type": "function", "function": function}]})
            };
            let deltas = [
                json!({"content": "Let me look."}),
                begins(0),
                call(0, json!({"arguments": "{\"utc_off"})),
                call(0, json!({"arguments": "set\": 9}"})),
                begins(1),
                call(1, json!({"arguments": "{\"utc_offset\": \"Tokyo\"}"})),
            ];
            openai(&deltas, "tool_calls")
        }
    });
    let mut chat = start("OPENAI", &server);
    chat.tell("Greet me.");
    chat.wait_for("Let me look. [current_time {\"utc_offset\": 9}]\n");
    chat.wait_for(" [current_time {\"utc_offset\": \"Tokyo\"}]\n");
    chat.wait_for("Good evening!\n> ");
    assert_eq!(next(&asked), json!([user("Greet me.")]));
    let messages = next(&asked);
    let call = |id: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": "current_time", "arguments": arguments}});
    let calls = [
        call("call_0", "{\"utc_offset\": 9}"),
        call("call_1", "{\"utc_offset\": \"Tokyo\"}"),
    ];
    assert_eq!(
        messages[1],
        json!({"role": "assistant", "content": "Let me look.", "tool_calls": calls})
    );
    for (index, result) in [(2, "+09:00:00"), (3, "utc_offset must be whole hours")] {
        let message = &messages[index];
        assert_eq!(message["role"], "tool");
        assert_eq!(message["tool_call_id"], format!("call_{}", index - 2));
        assert!(
            message["content"].as_str().unwrap().contains(result),
            "{message}"
        );
    }
    assert_eq!(messages.as_array().unwrap().len(), 4);

    chat.tell("Thank you.");
    chat.wait_for("\n> ");
    let messages = next(&asked);
    assert_eq!(
        messages[4],
        json!({"role": "assistant", "content": "Good evening!"})
    );
    assert_eq!(messages[5], user("Thank you."));
}

#[test]
fn at_the_other_vendor_the_conversation_has_its_form() {
    let (server, asked) = upstream(|last| {
        let is_result = last["content"][0]["type"] == "tool_result";
        let mut blocks = vec![(
            json!({"type": "text", "text": ""}),
            json!({"type": "text_delta", "text": if is_result { "Good evening!" } else { "Let me look." }}),
        )];
        if !is_result {
            blocks.push((
                json!({"type": "tool_use", "id": "toolu_1", "name": "current_time", "input": {}}),
                json!({"type": "input_json_delta", "partial_json": "{\"utc_offset\": 9}"}),
            ));
        }
        anthropic(&blocks, if is_result { "end_turn" } else { "tool_use" })
    });
    let mut chat = start("ANTHROPIC", &server);
    chat.tell("Greet me.");
    chat.wait_for("Let me look. [current_time {\"utc_offset\": 9}]\n");
    chat.wait_for("Good evening!\n> ");
    next(&asked);
    let messages = next(&asked);
    let called = json!([
        {"type": "text", "text": "Let me look."},
        {"type": "tool_use", "id": "toolu_1", "name": "current_time", "input": {"utc_offset": 9}},
    ]);
    assert_eq!(messages[1], json!({"role": "assistant", "content": called}));
    let result = &messages[2]["content"][0];
    assert_eq!(
        (&messages[2]["role"], &result["tool_use_id"]),
        (&json!("user"), &json!("toolu_1"))
    );
    assert!(
        result["content"].as_str().unwrap().ends_with("+09:00:00"),
        "{result}"
    );
}

/// A message of these blocks, each with the delta that fills it.
fn anthropic(blocks: &[(Value, Value)], stop_reason: &str) -> Reply {
    let message = json!({"id": "msg_1", "role": "assistant", "content": [], "usage": {"input_tokens": 1, "output_tokens": 1}});
    let mut events = vec![json!({"type": "message_start", "message": message})];
    for (index, (block, delta)) in blocks.iter().enumerate() {
        events.extend([
            json!({"type": "content_block_start", "index": index, "content_block": block}),
            json!({"type": "content_block_delta", "index": index, "delta": delta}),
            json!({"type": "content_block_stop", "index": index}),
        ]);
    }
    let end = json!({"stop_reason": stop_reason});
    events.extend([
        json!({"type": "message_delta", "delta": end, "usage": {"output_tokens": 2}}),
        json!({"type": "message_stop"}),
    ]);
    Reply::named_sse(events.iter().map(|event| {
        let name = event["type"].as_str().unwrap();
        (name, event.to_string())
    }))
}

#[test]
fn a_conversation_stays_at_its_vendor_and_goes_on_at_the_other_one() {
    let (first, first_asked) = upstream(|last| match last["content"].as_str() {
        Some("And now?") => {
            let error = json!({"code": "insufficient_quota", "message": "No credit."});
            Reply::json(429, json!({ "error": error }).to_string())
        }
        _ => words(&["Good day."]),
    });
    let (second, second_asked) = upstream(|_| {
        let text = json!({"type": "text", "text": ""});
        let delta = json!({"type": "text_delta", "text": "I heard."});
        anthropic(&[(text, delta)], "end_turn")
    });
    let mut command = example("chat");
    command
        .env("OPENAI_API_KEY", "sk-1")
        .env("OPENAI_BASE_URL", first.url());
    command
        .env("ANTHROPIC_API_KEY", "sk-2")
        .env("ANTHROPIC_BASE_URL", second.url());
    let mut chat = Program::start(&mut command);
    for _ in 0..3 {
        chat.tell("Hello.");
        chat.wait_for("Good day.\n> ");
    }
    chat.tell("And now?");
    chat.wait_for("I heard.\n> ");
    assert_eq!((first_asked.len(), second_asked.len()), (4, 1));
    let whole = next(&second_asked);
    let whole = whole.as_array().unwrap();
    assert_eq!((whole.len(), &whole[6]), (7, &user("And now?")));
}

#[test]
fn without_keys_a_server_on_loopback_answers() {
    let mut chat = Program::start(&mut example("chat"));
    chat.tell("Hello there");
    chat.wait_for("You said: Hello there\n> ");
    chat.tell("What time is it?");
    chat.wait_for("It is 20");
    assert_eq!(chat.end().0, Some(0));
}
