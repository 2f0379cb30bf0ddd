"""Asks `looptop mcp` what blocks a target, as an assistant would, by PyPI's `mcp`.

    client.py LOOPTOP TARGET

Prints one JSON object. The library compares every answer with the tool's output schema
and raises where it does not fit.
"""

import asyncio
import json
import sys
import time

from mcp import ClientSession, StdioServerParameters, stdio_client


ATTEMPTS = 20


def plain(result):
    return result.model_dump(by_alias=True, mode="json", exclude_none=True)


async def timed(session, tool, arguments):
    began = time.monotonic()
    result = plain(await session.call_tool(tool, arguments))
    return {
        "seconds": time.monotonic() - began,
        "error": result.get("isError", False),
        "text": "\n".join(part["text"] for part in result["content"]),
        "data": result.get("structuredContent"),
    }


def names_a_function(answer):
    findings = answer["data"]["findings"]
    return bool(findings) and findings[0]["function"] is not None


async def main(looptop, target):
    server = StdioServerParameters(command=looptop, args=["mcp"])
    async with stdio_client(server) as (read, write):
        async with ClientSession(read, write) as session:
            hello = plain(await session.initialize())
            tools = plain(await session.list_tools())["tools"]
            asked = {"target": target, "seconds": 3}
            first = await timed(session, "check", asked)
            check = first
            # On a machine without a free CPU a stack is not taken at once.
            for _ in range(ATTEMPTS):
                if names_a_function(check):
                    break
                await asyncio.sleep(3)
                check = await timed(session, "check", asked)
            second = await timed(session, "check", asked)
            answers = {
                "hello": hello,
                "tools": tools,
                "first": first,
                "second": second,
                "check": check,
                "stalls": await timed(session, "stalls", asked),
                "tasks": await timed(session, "tasks", {"target": target, "limit": 3}),
                "waits": await timed(session, "waits", {"target": target}),
                "dump": await timed(session, "dump", {"target": target}),
                "targets": await timed(session, "targets", {}),
                "wrong": await timed(session, "explain", {"rule": "blocked-wroker"}),
            }
            rule = check["data"]["findings"][0]["rule"]
            answers["explain"] = await timed(session, "explain", {"rule": rule})
    print(json.dumps(answers))


asyncio.run(main(*sys.argv[1:]))
