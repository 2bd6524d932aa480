"""The services that copy OpenAI's Files API, by Portkey's names for them.

Where a row's facts were read stands in it as a comment; none of the services was called.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..call import Operation
from .capabilities import OPENAI_EXPIRY, Capabilities
from .service import WHOLE, Lists, Service

BATCH = ("batch",)

#: What Zhipu's documents and its SDK name; each names some that the other does not.
ZHIPU_PURPOSES = (
    "batch",
    "code-interpreter",
    "agent",
    "voice-clone-input",
    "file-extract",
    "fine-tune",
    "retrieval",
)


def _zhipu(base_url: str) -> Service:
    """Return Zhipu's service, which is the same abroad.

    zhipuai, api_resource/files.py; https://docs.bigmodel.cn/api-reference; zai-sdk,
    api_resource/files/files.py; https://docs.z.ai/api-reference/agents/file-upload
    """
    return Service(
        base_url,
        capabilities=Capabilities(
            purposes=ZHIPU_PURPOSES,
            note=(
                "A list without `purpose` asks for each purpose in turn, and one file's "
                "metadata are looked up in those lists; only a batch's files have content."
            ),
        ),
        # The only `order` is `created_at`; which end comes first is not documented.
        lists=Lists(limit=100, cursor=True, purposes=ZHIPU_PURPOSES),
        has_retrieve=False,
    )


#: The services by Portkey's slug.
SERVICES: Mapping[str, Service] = {
    # https://inference-docs.cerebras.ai/api-reference/file/upload-file, list-files etc.
    "cerebras": Service(
        "https://api.cerebras.ai/v1",
        capabilities=Capabilities(
            purposes=BATCH,
            expiry=OPENAI_EXPIRY,
            note="Files expire after 7 days by default.",
        ),
        lists=Lists(order="asc", limit=100, cursor=True, filters=True),
    ),
    # https://www.alibabacloud.com/help/en/model-studio/openai-file-interface
    "dashscope": Service(
        "https://dashscope.aliyuncs.com/compatible-mode/v1",
        capabilities=Capabilities(
            purposes=("file-extract", "batch"),
            note="Only a batch's results have content.",
        ),
        lists=Lists(limit=2000, cursor=True, filters=True),
        plain=True,
        envelope=True,
        unknown=(400,),
    ),
    # https://docs.deepinfra.com/batch/file-endpoints
    "deepinfra": Service(
        "https://api.deepinfra.com/v1/openai",
        capabilities=Capabilities(
            purposes=BATCH,
            expiry=OPENAI_EXPIRY,
            note="Files expire after 30 days by default.",
        ),
    ),
    # groq, resources/files.py; https://console.groq.com/docs/api-reference
    "groq": Service(
        "https://api.groq.com/openai/v1",
        capabilities=Capabilities(purposes=BATCH),
        lists=WHOLE,
        envelope=True,
    ),
    # https://docs.kluster.ai/get-started/start-api
    "kluster-ai": Service(
        "https://api.kluster.ai/v1",
        capabilities=Capabilities(purposes=BATCH),
        plain=True,
        envelope=True,
    ),
    # https://platform.kimi.ai/docs/api/files-upload and its neighbours
    "moonshot": Service(
        "https://api.moonshot.ai/v1",
        capabilities=Capabilities(
            purposes=("file-extract", "image", "video", "batch"),
            note=(
                "The content of a file for `file-extract` is the text that was read from it, "
                "as JSON; images and videos have none."
            ),
        ),
        lists=WHOLE,
        envelope=True,
        statuses={"ok": "processed"},
    ),
    # https://docs.studio.nebius.com/api-reference/files/list-user-files, upload-file
    "nebius": Service(
        "https://api.tokenfactory.nebius.com/v1",
        capabilities=Capabilities(
            purposes=("batch", "fine-tune"),
            note="A list never has more than 10,000 files.",
        ),
        # Without one it lists ten, and nothing leads to the next.
        lists=Lists(limit=10_000, filters=True),
    ),
    # https://novita.ai/docs/api-reference/model-apis-llm-list-files and its neighbours
    "novita-ai": Service(
        "https://api.novita.ai/openai/v1",
        capabilities=Capabilities(purposes=BATCH),
        lists=WHOLE,
    ),
    # https://docs.siliconflow.cn/cn/api-reference/batch/upload-file, get-file-list
    "siliconflow": Service(
        "https://api.siliconflow.cn/v1",
        capabilities=Capabilities(
            operations=frozenset({Operation.UPLOAD, Operation.LIST, Operation.RETRIEVE}),
            purposes=BATCH,
            note="One file's metadata are looked up in the list, of 10,000 files at most.",
        ),
        lists=Lists(limit=10_000, purposes=BATCH),
        has_retrieve=False,
    ),
    "z-ai": _zhipu("https://api.z.ai/api/paas/v4"),
    "zhipu": _zhipu("https://open.bigmodel.cn/api/paas/v4"),
}
