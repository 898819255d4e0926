"""The query of `sql/products_plain.sql` in Django's ORM, for data without duplicates."""

from __future__ import annotations

from django.db.models import FilteredRelation, Q, QuerySet
from django.db.models.functions import Coalesce

from sql.django_catalogue.models import Product


def plain_listing() -> QuerySet:
    """Returns the title, the URL at image index 0 and the US text of every product."""
    return (
        Product.objects.annotate(
            first_image=FilteredRelation("images", condition=Q(images__image_index=0)),
            us=FilteredRelation("descriptions", condition=Q(descriptions__country_code="us")),
        )
        .order_by("id")
        .values_list(
            "title",
            "first_image__image__url",
            Coalesce("us__translated_text", "us__original_text"),
        )
    )
