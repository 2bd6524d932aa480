"""Microsoft Foundry (Azure AI): Azure OpenAI's API under a Foundry resource or its project.

The contract: https://learn.microsoft.com/azure/foundry/reference/rest/files-create-file and
https://learn.microsoft.com/azure/ai-foundry/openai/api-version-lifecycle
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import ClassVar
from urllib.parse import SplitResult, urlsplit

from ..call import FilesCall
from ..errors import InvalidRoute
from ..routing import Target
from .azure import COMMON_OPTIONS, UNDATED, AzureOpenAI, version_of

#: What a token for a project's address is for.
PROJECT_SCOPE = "https://ai.azure.com/.default"

_PROJECT = re.compile(r"(/api/projects/[A-Za-z0-9][A-Za-z0-9._-]{0,127})(?:/.*)?")
# The hosts that are resources at Microsoft's, whoever names them.
_RESOURCE_URL = re.compile(
    r"https://[a-z0-9][a-z0-9-]{0,62}\.(?:services\.ai|openai|cognitiveservices)\.azure\.com"
    r"(?:/[\x21-\x7e]*)?",
    re.ASCII | re.IGNORECASE,
)


class AzureAI(AzureOpenAI):
    """Microsoft Foundry.

    Its options are those of :class:`~flask_portkey_files.providers.azure.AzureOpenAI`, but for
    the resource name: it has ``azure_foundry_url`` instead, the address of the resource or of
    a project in it. Of its path, ``/api/projects/<name>`` is kept and anything else, such as
    ``/models``, is left out; the same goes for the target's base URL, which stands for it.

    Files are under the project where there is one, except with a dated api-version, which
    knows no projects. A project's address takes tokens of Entra and no keys.

    A client may name any resource at Microsoft's. What else it names in ``azure_foundry_url``
    counts as a custom host, which is reached only if it is allowed.
    """

    options: ClassVar[tuple[str, ...]] = ("azure_foundry_url", *COMMON_OPTIONS)

    def from_client(self, target: Target) -> Target:
        """Take an address that is not Microsoft's for a custom host."""
        target = super().from_client(target)
        url = target.options.get("azure_foundry_url")
        if not url:
            return target
        custom_host = None if _RESOURCE_URL.fullmatch(url) else url
        return replace(target, custom_host=custom_host)

    def base_url(self, call: FilesCall, target: Target) -> str:
        """Return the address of the resource or its project, with the version's path.

        :raises InvalidRoute: there is none, or what is given is no address.
        """
        parts = _address(target)
        origin = f"{parts.scheme}://{parts.netloc}"
        if version_of(call, target) not in UNDATED:
            return f"{origin}/openai"
        return f"{origin}{_project(parts)}/openai/v1"

    def scope(self, call: FilesCall, target: Target) -> str:
        """Return what a token has to be for: projects have a scope of their own."""
        in_project = version_of(call, target) in UNDATED and _project(_address(target))
        return PROJECT_SCOPE if in_project else super().scope(call, target)


def _address(target: Target) -> SplitResult:
    url = target.base_url or target.options.get("azure_foundry_url", "")
    try:
        parts = urlsplit(url)
        sound = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        sound = False
    if not sound or "@" in parts.netloc or "\\" in parts.netloc:
        raise InvalidRoute(
            f"The provider {target.provider} needs the address of the Foundry resource, such "
            "as https://contoso.services.ai.azure.com, in the header "
            "x-portkey-azure-foundry-url.",
            param="x-portkey-azure-foundry-url",
        )
    return parts


def _project(parts: SplitResult) -> str:
    """Return the part of an address's path that names a project, empty if none does."""
    found = _PROJECT.fullmatch(parts.path)
    return found[1] if found else ""
