"""The tables of `sql/schema.sql` as Django models, and the query of `sql/products.sql` as a method of the queryset.

Django neither creates nor changes the tables (`managed = False`). Their names are lower case, as PostgreSQL folds them.
"""

from __future__ import annotations

from django.db import models
from django.db.models import OuterRef, Subquery
from django.db.models.functions import Coalesce

# As in sql/products.sql, where it is explained.
SOMETHING_TO_READ = r"[^\t-\r\u001C-\u0020\u0085\u00A0\u1680\u2000-\u200B\u2028\u2029\u202F\u205F\u2060\u3000\uFEFF]"


class ProductQuerySet(models.QuerySet["Product"]):
    """Products, with the listing of `sql/products.sql`."""

    def for_listing(self, country: str = "us", image_index: int = 0) -> ProductQuerySet:
        """Adds `url` and `description` to every product, ordered by id, in one statement.

        Args:
            country: The code of the country whose text is returned, compared exactly.
            image_index: Which of the product's images; 0 is the first.

        Returns:
            Every product of the queryset once; `url` and `description` are None where there is none.
        """
        images = ProductImage.objects.filter(product=OuterRef("pk"), image_index=image_index).order_by("image_id")
        texts = ProductDescription.objects.filter(product=OuterRef("pk"), country_code=country).order_by("id")
        translated = texts.filter(translated_text__regex=SOMETHING_TO_READ).values("translated_text")
        original = texts.filter(original_text__regex=SOMETHING_TO_READ).values("original_text")
        return self.annotate(
            url=Subquery(images.values("image__url")[:1]),
            description=Coalesce(Subquery(translated[:1]), Subquery(original[:1])),
        ).order_by("id")


class Product(models.Model):
    """A product of the shop."""

    id = models.BigIntegerField(primary_key=True, db_column="id")
    title = models.TextField(db_column="title")

    objects = ProductQuerySet.as_manager()

    class Meta:
        managed = False
        db_table = "product"


class Image(models.Model):
    """An image, which several products may share."""

    id = models.BigIntegerField(primary_key=True, db_column="id")
    url = models.TextField(db_column="url")

    class Meta:
        managed = False
        db_table = "image"


class ProductImage(models.Model):
    """The position of an image among the images of a product."""

    # The table has no key. Django requires one; reading never relies on it.
    pk = models.CompositePrimaryKey("product_id", "image_id", "image_index")
    product = models.ForeignKey(Product, models.DO_NOTHING, db_column="productid", related_name="images")
    image = models.ForeignKey(Image, models.DO_NOTHING, db_column="imageid", related_name="products")
    image_index = models.IntegerField(db_column="imageindex")

    class Meta:
        managed = False
        db_table = "productimages"


class ProductDescription(models.Model):
    """A product's text for a country: the retailer's original and its translation."""

    id = models.BigIntegerField(primary_key=True, db_column="id")
    product = models.ForeignKey(Product, models.DO_NOTHING, db_column="productid", related_name="descriptions")
    country_code = models.TextField(db_column="countrycode")
    original_text = models.TextField(null=True, db_column="originaltext")
    translated_text = models.TextField(null=True, db_column="translatedtext")

    class Meta:
        managed = False
        db_table = "productdescription"
