"""Texts with their masked parts shown."""

from django import template
from django.template.defaultfilters import linebreaksbr
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from datasets.masking import texts

register = template.Library()


@register.filter
def masked_parts(text: object) -> SafeString:
    """A stored text as HTML: what stands for a masked identifier is marked, line ends are kept."""
    marked = (
        (format_html("<mark>{}</mark>", piece) if what else linebreaksbr(piece, autoescape=True),)
        for piece, what in texts.tokens_of(str(text))
    )
    return format_html('<span class="masked-parts">{}</span>', format_html_join("", "{}", marked))
